from odml.export.text_format import Symbol, to_text


def test_each_kind_of_value():
    message = {"name": "a", "kind": Symbol("B"), "on": True, "empty": {}, "many": [1, 2.5], "deep": [{"x": 1e-8}]}
    assert to_text(message) == ('name: "a"\nkind: B\non: true\nempty {\n}\nmany: 1\nmany: 2.5\ndeep {\n  x: 1e-08\n}\n')
