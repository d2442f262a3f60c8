#!/bin/sh
# Rows A, B3, D3 and E3 at full width and resolution, trained and attacked on a GPU, some minutes at a
# time: the same command goes on where it was, until all is done.
#
#     scripts/full_width.sh OUT [options of `pushpull reproduce`]
#
# MINUTES is how long one call may take (12). Training keeps its state after every epoch, so that a
# call that is cut off loses no more. Ends with 0 when all is done, with 75 when there is more to do.
set -eu
out=${1:?expected the folder of the run}
shift
minutes=${MINUTES:-12}
python=${PYTHON:-python}
code=0
timeout --signal=INT --kill-after=30 "${minutes}m" \
    "$python" -m pushpull reproduce table1 --preset full-width --workers 1 --out "$out" "$@" || code=$?
case $code in
    124 | 130 | 137) echo "time is up; the same command goes on" && exit 75 ;;
    *) exit "$code" ;;
esac
