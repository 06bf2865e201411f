"""Fixtures of published corpora in their documented form."""

import json
from pathlib import Path

NITE = 'xmlns:nite="http://nite.sourceforge.net/"'


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def seamless(root: Path) -> None:
    for name in ("V00_S0809_I00000582_P0947", "V00_S0809_I00000582_P0948", "V01_S0001_I00000001_P0947"):
        home = f"improvised/train/0000/0005/{name}"
        touch(root, f"{home}.mp4", f"{home}.wav", f"{home}.npz")
        segment = {"start": 0.5, "end": 1.1, "transcript": "oh yes",
                   "words": [{"word": " oh", "start": 0.5, "end": 0.7, "score": 0.9},
                             {"word": " yes", "start": 0.72, "end": 1.1, "score": 0.8},
                             {"word": " 12"}]}  # fmt: skip
        write_json(root / f"{home}.json", {"id": name, "metadata:vad": [], "metadata:transcript": [segment]})


def candor(root: Path) -> None:
    home = root / "0a1b-conversation"
    touch(home, "processed/0a1b-conversation.mp3", "raw/user-left.mp4", "raw/user-right.mp4", "survey.csv")
    speakers = [{"user_id": "user-right", "channel": "R"}, {"user_id": "user-left", "channel": "L"}]
    write_json(home / "metadata.json", {"speakers": speakers})

    def item(text: str, start: str | None = None) -> dict[str, object]:
        times = {"start_time": start, "end_time": f"{float(start) + 0.2:.2f}"} if start else {}
        kind = "pronunciation" if start else "punctuation"
        return {**times, "type": kind, "alternatives": [{"confidence": "0.9", "content": text}]}

    channels = [
        {"channel_label": "ch_0", "items": [item("Hello", "1.5"), item("."), item("Bye", "2.0")]},
        {"channel_label": "ch_1", "items": [item("Right", "1.9"), item("?")]},
    ]
    write_json(home / "transcription/transcribe_output.json", {"results": {"channel_labels": {"channels": channels}}})


def ami(root: Path) -> None:
    people = (("A", 1, "Closeup2", "MEE009"), ("B", 0, "Closeup1", "FEE005"), ("C", 2, "Closeup4", "MEE010"))
    speakers = "".join(
        f'<speaker nxt_agent="{agent}" channel="{channel}" camera="{camera}" global_name="{who}" role="PM"/>'
        for agent, channel, camera, who in people
    )
    resources = root / "annotations/corpusResources"
    resources.mkdir(parents=True)
    (resources / "meetings.xml").write_text(
        f'<nite:root {NITE}><meeting observation="ES2002a">{speakers}</meeting>'
        f'<meeting observation="ES2002b">{speakers}</meeting></nite:root>'
    )
    touch(root, *(f"ES2002a/audio/ES2002a.Headset-{channel}.wav" for _, channel, _, _ in people))
    touch(root, *(f"ES2002a/video/ES2002a.{camera}.avi" for _, _, camera, _ in people[:2]))
    (root / "annotations/words").mkdir()
    (root / "annotations/words/ES2002a.A.words.xml").write_text(
        f"""<?xml version="1.0" encoding="ISO-8859-1"?>
        <nite:root nite:id="ES2002a.A.words" {NITE}>
        <w nite:id="w0" starttime="77.44" endtime="77.74">Hi</w>
        <w nite:id="w1" starttime="77.74" endtime="77.74" punc="true">,</w>
        <vocalsound nite:id="w2" starttime="78.0" endtime="79.0" type="laugh"/>
        <w nite:id="w3" starttime="80.5" endtime="80.9">I&apos;m</w><w nite:id="w4">lost</w></nite:root>"""
    )


MAKERS = {"seamless": seamless, "candor": candor, "ami": ami}
