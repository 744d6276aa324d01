"""A ConfigMap as Kubernetes mounts it: its files are links into `..data`, and that is one to the present version."""

from collections.abc import Mapping
from pathlib import Path


def mount(where: Path, files: Mapping[str, bytes]) -> Path:
    """Return the folder that a ConfigMap with these files is mounted at."""
    folder = where / "mounted"
    folder.mkdir()
    update(folder, files)
    for name in files:
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def update(folder: Path, files: Mapping[str, bytes]) -> None:
    """Do as the kubelet does: write a new version beside the old one, and set the link in one step."""
    version = folder / f"..version_{len(list(folder.iterdir()))}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").replace(folder / "..data")
