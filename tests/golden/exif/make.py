#!/usr/bin/env python3
"""Pictures with an orientation tag, and what Pillow makes of them: upright.json holds for each file
its width, height and the SHA-256 of its RGB bytes after ImageOps.exif_transpose and convert("RGB").
phone.jpg and upright.png, the same picture stored turned and upright, were there before.

Run with Pillow 13 in this directory: ./make.py
"""
import hashlib
import io
import json
import struct
import zlib

from PIL import Image, ImageOps

SIZE = (13, 8)


def picture():
    image = Image.new("RGB", SIZE)
    image.putdata([(19 * x, 31 * y, (x * y * 7) % 256) for y in range(SIZE[1]) for x in range(SIZE[0])])
    return image


def encoded(form, **options):
    buffer = io.BytesIO()
    picture().save(buffer, form, **options)
    return buffer.getvalue()


def tiff(order, value, kind=3, count=1, tag=0x0112, before=()):
    """A TIFF header and one directory, the entries `before` and then the one that is asked about."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = [*before, (tag, kind, count, value)]
    body = struct.pack(order + "H", len(entries))
    for entry_tag, entry_kind, entry_count, entry_value in entries:
        form = {3: "Hxx", 4: "L", 8: "hxx"}[entry_kind]
        body += struct.pack(order + "HHL" + form, entry_tag, entry_kind, entry_count, entry_value)
    return mark + struct.pack(order + "L", 8) + body + struct.pack(order + "L", 0)


def jpeg(*segments):
    data = encoded("JPEG", quality=95)
    app1 = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return data[:2] + app1 + data[2:]


def png(kind, content, last):
    data = encoded("PNG")
    at = data.index(b"IEND") - 4 if last else 33
    chunk = struct.pack(">L", len(content)) + kind + content
    return data[:at] + chunk + struct.pack(">L", zlib.crc32(kind + content)) + data[at:]


XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXIF = b"Exif\0\0"


def files():
    for value in range(1, 9):
        order = "<>"[value % 2]
        yield f"jpeg_{value}.jpg", jpeg(EXIF + tiff(order, value))
    yield "jpeg_0.jpg", jpeg(EXIF + tiff("<", 0))
    yield "jpeg_9.jpg", jpeg(EXIF + tiff(">", 9))
    yield "jpeg_long.jpg", jpeg(EXIF + tiff(">", 6, kind=4, before=[(0x0100, 3, 1, 13)]))
    yield "jpeg_signed.jpg", jpeg(EXIF + tiff("<", 8, kind=8))
    yield "jpeg_twice.jpg", jpeg(EXIF + tiff("<", 3, before=[(0x0112, 3, 1, 6)]))
    whole = tiff("<", 5)
    yield "jpeg_two_segments.jpg", jpeg(EXIF + whole[:12], EXIF + whole[12:])
    yield "jpeg_doubled_mark.jpg", jpeg(EXIF + EXIF + tiff("<", 6))
    yield "jpeg_cut.jpg", jpeg(EXIF + tiff("<", 6)[:14])
    yield "jpeg_xmp.jpg", jpeg(XMP + b'<rdf:Description tiff:Orientation="7"/>')
    yield "jpeg_xmp_and_exif.jpg", jpeg(XMP + b"<tiff:Orientation>7</tiff:Orientation>", EXIF + tiff("<", 2))
    yield "png_6.png", png(b"eXIf", tiff(">", 6), last=False)
    yield "png_8_last.png", png(b"eXIf", tiff("<", 8), last=True)
    yield "png_xmp.png", png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<tiff:Orientation>3</tiff:Orientation>", last=False)
    yield "webp_6.webp", encoded("WEBP", lossless=True, exif=tiff("<", 6))
    yield "webp_5_marked.webp", encoded("WEBP", quality=90, exif=EXIF + EXIF + tiff(">", 5))
    yield "webp_xmp.webp", encoded("WEBP", lossless=True, xmp=b'<x tiff:Orientation="4"/>')
    webp = bytearray(encoded("WEBP", lossless=True, exif=tiff("<", 6)))
    webp[20] &= ~0x08  # the flag that says there is EXIF
    yield "webp_unflagged.webp", bytes(webp)


def main():
    expected = {}
    for name, data in [*files(), *((n, open(n, "rb").read()) for n in ("phone.jpg", "upright.png"))]:
        with open(name, "wb") as file:
            file.write(data)
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        expected[name] = [*upright.size, hashlib.sha256(upright.tobytes()).hexdigest()]
    with open("upright.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
