"""Talking faces and voices made from one articulatory track: offline, seeded, free of assets."""

from pushpull.synthetic.articulation import Mouth, Speech, Tract, babble
from pushpull.synthetic.clips import draw_clip
from pushpull.synthetic.looks import Looks, draw_looks
from pushpull.synthetic.scene import Person, Scene
from pushpull.synthetic.scripts import Case, Script, draw_script
from pushpull.synthetic.video import demo_video, one_face_video, write_scene_truth
from pushpull.synthetic.voice import Voice, draw_voice, synthesize

__all__ = [
    "Case",
    "Looks",
    "Mouth",
    "Person",
    "Scene",
    "Script",
    "Speech",
    "Tract",
    "Voice",
    "babble",
    "demo_video",
    "draw_clip",
    "draw_looks",
    "draw_script",
    "draw_voice",
    "one_face_video",
    "synthesize",
    "write_scene_truth",
]
