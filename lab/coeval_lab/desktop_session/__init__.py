"""Records a real desktop session on a virtual screen: how the demo's recording was made.

`python -m coeval_lab.desktop_session OUT` starts Xvfb, works real programs on it, and records the
screen, the input, the programs' use of the machine and the pointer. It needs a Linux machine with

    apt-get install xvfb ffmpeg espeak-ng xdotool openbox xterm x11-apps mousepad fonts-dejavu-core

and is not needed to run the demo: its recording ships with the package.
"""
