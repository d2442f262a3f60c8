"""Talking faces and voices made from one articulatory track: offline, seeded, free of assets."""

from pushpull.synthetic.articulation import Mouth, Speech, Tract, babble
from pushpull.synthetic.clips import draw_clip
from pushpull.synthetic.looks import Looks, draw_looks
from pushpull.synthetic.scene import Person, Scene
from pushpull.synthetic.scripts import Act, Case, draw_act
from pushpull.synthetic.video import demo_video, one_face_video
from pushpull.synthetic.voice import Voice, draw_voice, synthesize

__all__ = [
    "Act",
    "Case",
    "Looks",
    "Mouth",
    "Person",
    "Scene",
    "Speech",
    "Tract",
    "Voice",
    "babble",
    "demo_video",
    "draw_act",
    "draw_clip",
    "draw_looks",
    "draw_voice",
    "one_face_video",
    "synthesize",
]
