"""`make export`: the notebooks' pictures with 256 colours where nobody sees the difference: a clone holds every version of every picture.

`pictures.py` rewrites notebooks, `pictures.py --check` only says which ones hold larger pictures than they need and fails."""
import base64, io, json, sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LEAST = 40_000  # bytes of a picture as text; smaller ones stay as they are
CLOSE = 36  # dB between a picture and itself with fewer colours


def fewer_colours(text):
    "A PNG in base64 with a palette, or None where that is not much smaller or can be seen"
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    if image.mode == "P": return None
    plain = Image.new("RGB", image.size, "white")
    plain.paste(image, mask=image.getchannel("A") if "A" in image.mode else None)
    small = plain.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    apart = np.asarray(plain, float) - np.asarray(small.convert("RGB"), float)
    if 10 * np.log10(255**2 / max((apart**2).mean(), 1e-9)) < CLOSE: return None
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    found = base64.b64encode(buffer.getvalue()).decode()
    return found if len(found) < .8 * len(text) else None


def shrunk(path, write=True):
    "Bytes that a notebook's pictures need not take"
    notebook, saved = json.loads(path.read_text()), 0
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            given = output.get("data", {}).get("image/png")
            if given is None: continue
            text = "".join(given).strip()
            if len(text) < LEAST: continue
            if found := fewer_colours(text):
                saved += len(text) - len(found)
                output["data"]["image/png"] = found
    if saved and write: path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return saved


def main():
    check, total = "--check" in sys.argv, 0
    for path in sorted([*ROOT.glob("nbs/*.ipynb"), *ROOT.glob("experiments/*.ipynb"), *ROOT.glob("experiments/*/*.ipynb")]):
        if saved := shrunk(path, not check):
            total += saved
            print(f"{path.relative_to(ROOT)}: {saved / 1e3:.0f} kB {'too many' if check else 'less'}")
    if check and total: sys.exit(f"pictures take {total / 1e6:.1f} MB more than they need (run `make export`)")


if __name__ == "__main__": main()
