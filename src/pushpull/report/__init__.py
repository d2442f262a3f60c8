"""Reports of experiments as one HTML page."""

from pushpull.report.page import opening, write_page

__all__ = ["opening", "write_page"]
