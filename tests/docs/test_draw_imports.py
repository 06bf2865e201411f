"""The committed pictures of imports are those of the code, and an import against the layers cannot be drawn."""

from xml.etree import ElementTree

import pytest

from docs import draw_imports

LAYERS = [["tools"], ["a", "b", "c", "d", "e"], ["shared"], ["base"]]


def test_committed_pictures_are_drawn_from_the_code() -> None:
    stale = [path.name for path, svg in draw_imports.drawings().items() if path.read_text(encoding="utf-8") != svg]
    assert stale == [], "run python -m docs.draw_imports and commit docs/images"


def arrows(svg: str) -> int:
    root = ElementTree.fromstring(svg)
    return sum("l-3.5 -6.5" in path.get("d", "") for path in root.iter("{http://www.w3.org/2000/svg}path"))


def test_an_arrow_for_every_edge() -> None:
    edges = {("tools", "b"), ("tools", "base"), ("b", "shared"), ("b", "base"), ("shared", "base")}
    assert arrows(draw_imports.draw("imports", LAYERS, edges)) == len(edges)


@pytest.mark.parametrize("edge", [("base", "shared"), ("a", "b"), ("b", "tools")])
def test_an_import_against_the_layers_is_an_error(edge: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="against the layers"):
        draw_imports.draw("imports", LAYERS, {("tools", "a"), edge})


def test_a_module_belongs_to_the_folder_with_the_longest_name() -> None:
    graph = draw_imports.grimp.ImportGraph()
    for module in ("pipelines.pack.stage", "pipelines.params", "wanstreamer.clock"):
        graph.add_module(module)
    graph.add_import(importer="pipelines.pack.stage", imported="wanstreamer.clock")
    graph.add_import(importer="pipelines.params", imported="pipelines.pack.stage")
    folders = ["pipelines", "pipelines.pack", "wanstreamer"]
    assert draw_imports.folder_edges(folders, graph) == {
        ("pipelines.pack", "wanstreamer"),
        ("pipelines", "pipelines.pack"),
    }


def test_a_folder_in_no_layer_is_an_error() -> None:
    graph = draw_imports.grimp.ImportGraph()
    for module in ("pipelines", "pipelines.pack", "pipelines.media"):
        graph.add_module(module)
    draw_imports.check_complete([["pipelines.pack"], ["pipelines.media"]], "pipelines", graph)
    with pytest.raises(ValueError, match="pipelines.media: in no layer"):
        draw_imports.check_complete([["pipelines.pack"]], "pipelines", graph)
