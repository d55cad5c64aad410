"""Small virtual machines on a kernel that has sched_ext: the lab's hosts, the gate's sandbox.

image = await ensure_image()
async with Microvm(image, settings={"COX_HOST": "lab-1"}) as guest:
    code, output = await guest.run("uname -r", timeout_s=10)
"""

from shared.microvm.guest import Finished, Guest
from shared.microvm.image import Image, ensure_image
from shared.microvm.machine import HOST_FROM_GUEST, Microvm

__all__ = ["HOST_FROM_GUEST", "Finished", "Guest", "Image", "Microvm", "ensure_image"]
