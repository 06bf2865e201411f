"""A contact sheet shows every picture with its boxes in the colours of their names."""

import numpy as np

from pipelines.people.contact_sheet import COLOURS, COLUMNS, WIDTH, contact_sheet


def test_boxes_are_where_they_belong() -> None:
    pictures = [np.full((90, 160, 3), 20 * number, np.uint8) for number in range(5)]
    box = np.array([20.0, 20.0, 60.0, 70.0])
    sheet = contact_sheet(pictures, [[box], [], [box, box + 50], [], [box]], [["b"], [], ["a", "b"], [], ["a"]])
    assert sheet.shape == (2 * 180, COLUMNS * WIDTH, 3)
    assert tuple(sheet[80, 40]) == COLOURS[1] and tuple(sheet[80, 2 * WIDTH + 40]) == COLOURS[0]
    assert tuple(sheet[180 + 80, 40]) == COLOURS[0] and tuple(sheet[100, WIDTH + 100]) == (20, 20, 20)
    assert (sheet[180:, WIDTH:] == 255).all()
