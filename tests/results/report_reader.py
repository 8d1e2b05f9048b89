"""Reads a report as a browser would: a tree of elements, and the figures of its tables."""

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Element:
    def __init__(self, tag, attrs):
        self.tag, self.attrs, self.children = tag, dict(attrs), []

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, tag=None, **attrs):
        """Return the elements below of a tag whose attributes are there, or hold a word where one is given."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attrs.items()}
        return [
            one
            for one in self.walk()
            if tag in (None, one.tag)
            and all(
                name in one.attrs and (word is True or word in (one.attrs[name] or "").split())
                for name, word in wanted.items()
            )
        ]

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("root", ())
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        one = Element(tag, attrs)
        self.open[-1].children.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, attrs))

    def handle_endtag(self, tag):
        if self.open[-1].tag != tag:
            raise ValueError(f"</{tag}> closes <{self.open[-1].tag}>")
        self.open.pop()

    def handle_data(self, text):
        self.open[-1].children.append(text)


def read_page(content):
    """Return the root of a page whose elements are all closed in order."""
    reader = _Reader()
    reader.feed(content.decode())
    reader.close()
    if len(reader.open) != 1:
        raise ValueError(f"<{reader.open[-1].tag}> is never closed")
    return reader.root


def figures(page):
    """Return every cell of the tables of figures: (caption, group, lifter, metric) to the element."""
    cells = {}
    for table in page.all("table", class_="figures"):
        caption = table.all("caption")[0].text
        for body in table.all("tbody"):
            for line in body.all("tr"):
                for cell in line.all("td"):
                    key = (caption, body.attrs["data-group"], line.all("th")[0].text, cell.attrs["data-metric"])
                    if key in cells:
                        raise ValueError(f"{key} stands twice")
                    cells[key] = cell
    return cells
