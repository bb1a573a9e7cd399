"""A connection to an X display by ctypes: send input, read the pointer, take a picture.

`libX11` and `libXtst` come with Xvfb and xdotool; no Python package is needed. A connection
belongs to one thread.
"""

import ctypes
import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coeval.errors import CoevalError

SHIFT = "Shift_L"
Z_PIXMAP = 2
ALL_PLANES = 0xFFFFFFFF
COPY_FROM_PARENT = 0
CW_BACK_PIXEL, CW_OVERRIDE_REDIRECT = 1 << 1, 1 << 9


class _XImage(ctypes.Structure):
    """The head of Xlib's XImage (X11/Xlib.h), as far as it is read here."""

    _fields_ = [
        ("width", ctypes.c_int),
        ("height", ctypes.c_int),
        ("xoffset", ctypes.c_int),
        ("format", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("byte_order", ctypes.c_int),
        ("bitmap_unit", ctypes.c_int),
        ("bitmap_bit_order", ctypes.c_int),
        ("bitmap_pad", ctypes.c_int),
        ("depth", ctypes.c_int),
        ("bytes_per_line", ctypes.c_int),
        ("bits_per_pixel", ctypes.c_int),
    ]


class _SetWindowAttributes(ctypes.Structure):
    """Xlib's XSetWindowAttributes (X11/Xlib.h)."""

    _fields_ = [
        ("background_pixmap", ctypes.c_ulong),
        ("background_pixel", ctypes.c_ulong),
        ("border_pixmap", ctypes.c_ulong),
        ("border_pixel", ctypes.c_ulong),
        ("bit_gravity", ctypes.c_int),
        ("win_gravity", ctypes.c_int),
        ("backing_store", ctypes.c_int),
        ("backing_planes", ctypes.c_ulong),
        ("backing_pixel", ctypes.c_ulong),
        ("save_under", ctypes.c_int),
        ("event_mask", ctypes.c_long),
        ("do_not_propagate_mask", ctypes.c_long),
        ("override_redirect", ctypes.c_int),
        ("colormap", ctypes.c_ulong),
        ("cursor", ctypes.c_ulong),
    ]


def _library(name: str) -> Any:
    try:
        library = ctypes.CDLL(name)
    except OSError as exc:
        raise CoevalError(f"{name} is missing: apt-get install xvfb xdotool") from exc
    return library


# X errors, of a window that has just closed, must not end the process as Xlib would.
_pass_over = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)


class Display:
    """One connection to a display. Every call returns when the server has done it."""

    def __init__(self, name: str) -> None:
        """Connect.

        Args:
            name: of the display, `:7`.

        Raises:
            CoevalError: Xlib is missing, or there is no such display.
        """
        self._x, self._test = _library("libX11.so.6"), _library("libXtst.so.6")
        p, ul, i, u = ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_uint
        self._x.XOpenDisplay.argtypes, self._x.XOpenDisplay.restype = [ctypes.c_char_p], p
        self._x.XDefaultRootWindow.argtypes, self._x.XDefaultRootWindow.restype = [p], ul
        self._x.XStringToKeysym.argtypes = [ctypes.c_char_p]
        self._x.XStringToKeysym.restype = ul
        self._x.XKeysymToKeycode.argtypes = [p, ul]
        self._x.XKeysymToKeycode.restype = ctypes.c_ubyte
        self._x.XkbKeycodeToKeysym.argtypes = [p, ctypes.c_ubyte, u, u]
        self._x.XkbKeycodeToKeysym.restype = ul
        self._x.XSync.argtypes, self._x.XCloseDisplay.argtypes = [p, i], [p]
        self._x.XGetImage.argtypes = [p, ul, i, i, u, u, ul, i]
        self._x.XGetImage.restype = ctypes.POINTER(_XImage)
        self._x.XDestroyImage.argtypes = [ctypes.POINTER(_XImage)]
        self._x.XCreateWindow.argtypes = [p, ul, i, i, u, u, u, i, u, p, ul, p]
        self._x.XCreateWindow.restype = ul
        for call in ("XMapRaised", "XUnmapWindow", "XDestroyWindow"):
            getattr(self._x, call).argtypes = [p, ul]
        pl, pi, pu = map(ctypes.POINTER, (ul, i, u))
        self._x.XQueryPointer.argtypes = [p, ul, pl, pl, pi, pi, pi, pi, pu]
        self._x.XGetGeometry.argtypes = [p, ul, pl, pi, pi, pu, pu, pu, pu]
        self._x.XTranslateCoordinates.argtypes = [p, ul, ul, i, i, pi, pi, pl]
        self._test.XTestFakeKeyEvent.argtypes = [p, u, i, ul]
        self._test.XTestFakeButtonEvent.argtypes = [p, u, i, ul]
        self._test.XTestFakeMotionEvent.argtypes = [p, i, i, i, ul]
        self._x.XSetErrorHandler(_pass_over)
        self._display = self._x.XOpenDisplay(name.encode())
        if not self._display:
            raise CoevalError(f"display {name} cannot be opened")
        self._root = self._x.XDefaultRootWindow(self._display)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._x.XCloseDisplay(self._display)

    def key(self, keysym: str, is_down: bool) -> int:
        """Press or release a key; the monotonic time in ns at which the server had it."""
        keycode = self._x.XKeysymToKeycode(self._display, self._x.XStringToKeysym(keysym.encode()))
        self._test.XTestFakeKeyEvent(self._display, keycode, int(is_down), 0)
        return self._done()

    def needs_shift(self, keysym: str) -> bool:
        """Whether a symbol lies on the second level of its key."""
        wanted = self._x.XStringToKeysym(keysym.encode())
        keycode = self._x.XKeysymToKeycode(self._display, wanted)
        plain = self._x.XkbKeycodeToKeysym(self._display, keycode, 0, 0)
        return bool(plain != wanted)

    def button(self, number: int, is_down: bool) -> int:
        """Press or release a mouse button (4, 5: the wheel); monotonic time in ns."""
        self._test.XTestFakeButtonEvent(self._display, number, int(is_down), 0)
        return self._done()

    def move(self, x: int, y: int) -> int:
        """Put the pointer somewhere; monotonic time in ns."""
        self._test.XTestFakeMotionEvent(self._display, -1, x, y, 0)
        return self._done()

    def pointer(self) -> tuple[int, int]:
        """Where the pointer is, in pixels from the upper left corner."""
        window, child = ctypes.c_ulong(), ctypes.c_ulong()
        x, y, wx, wy = (ctypes.c_int() for _ in range(4))
        mask = ctypes.c_uint()
        refs = map(ctypes.byref, (window, child, x, y, wx, wy, mask))
        self._x.XQueryPointer(self._display, self._root, *refs)
        return x.value, y.value

    def geometry(self, window: int) -> tuple[int, int, int, int]:
        """Where a window's content is: x, y, width, height in pixels of the screen."""
        root, child = ctypes.c_ulong(), ctypes.c_ulong()
        x, y = ctypes.c_int(), ctypes.c_int()
        width, height, border, depth = (ctypes.c_uint() for _ in range(4))
        refs = map(ctypes.byref, (root, x, y, width, height, border, depth))
        self._x.XGetGeometry(self._display, window, *refs)
        refs = map(ctypes.byref, (x, y, child))
        self._x.XTranslateCoordinates(self._display, window, self._root, 0, 0, *refs)
        return x.value, y.value, width.value, height.value

    def picture(self, width: int, height: int) -> NDArray[np.uint8]:
        """The screen from its upper left corner, shape (height, width, 3), RGB."""
        image = self._x.XGetImage(
            self._display, self._root, 0, 0, width, height, ALL_PLANES, Z_PIXMAP
        )
        if not image:
            raise CoevalError("the X server gave no picture")
        line = image.contents.bytes_per_line
        raw = np.frombuffer(ctypes.string_at(image.contents.data, line * height), np.uint8)
        self._x.XDestroyImage(image)
        bgrx = raw.reshape(height, line // 4, 4)[:, :width]
        return np.ascontiguousarray(bgrx[:, :, 2::-1])

    def make_white_window(self, width: int, height: int) -> int:
        """A white window over everything, not shown yet; its id."""
        attributes = _SetWindowAttributes()
        attributes.background_pixel, attributes.override_redirect = 0xFFFFFF, 1
        window: int = self._x.XCreateWindow(
            self._display,
            self._root,
            0,
            0,
            width,
            height,
            0,
            COPY_FROM_PARENT,
            COPY_FROM_PARENT,
            None,
            CW_BACK_PIXEL | CW_OVERRIDE_REDIRECT,
            ctypes.byref(attributes),
        )
        return window

    def show(self, window: int, is_shown: bool) -> int:
        """Show or hide a window; monotonic time in ns."""
        call = self._x.XMapRaised if is_shown else self._x.XUnmapWindow
        call(self._display, window)
        return self._done()

    def _done(self) -> int:
        self._x.XSync(self._display, 0)
        return time.monotonic_ns()
