//! A pipeline as a drawing that needs no other program: each stage below those it requires, nested stages in boxes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use eparch_domain::harmless;

use super::label;
use crate::model::{Pipeline, Stage, StageIx, Work};

/// Lengths, in pixels. Letters are 13 pixels high; a sans-serif one is seldom wider than this.
const LETTER: u32 = 8;
const LINE: u32 = 22;
const BOX_HEIGHT: u32 = 40;
const PADDING: u32 = 12;
const GAP: u32 = 24;
/// Between a stage and those that require it: room for an arrow.
const STEP: u32 = 40;

/// Colours for a light page and for a dark one.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}\
.stage{fill:#fff;stroke:#57606a}.group{fill:#eaeef2;fill-opacity:.5;stroke:#8c959f}\
.list{fill:none;stroke:#8c959f;stroke-dasharray:4 3}.edge{fill:none;stroke:#57606a;stroke-width:1.5}.tip{fill:#57606a}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.stage{fill:#161b22;stroke:#8b949e}\
.group{fill:#30363d;stroke:#6e7681}.list{stroke:#6e7681}.edge{stroke:#8b949e}.tip{fill:#8b949e}}";

impl Pipeline {
    /// The pipeline as an SVG image: it stands alone, has no script and asks for nothing from elsewhere.
    pub fn svg(&self) -> String {
        let top: Vec<StageIx> = self.top().collect();
        let sheet = self.rows(&top);
        let (width, height) = (sheet.width + 2 * PADDING, sheet.height + 2 * PADDING);
        let mut drawing = Drawing { pipeline: self, out: String::new(), places: BTreeMap::new() };
        drawing.rows(&top, Corner { x: PADDING, y: PADDING }, sheet.width);
        drawing.edges();
        let name = escaped(self.name.as_str());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{name}\">\n<title>{name}</title>\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n{}</svg>\n",
            drawing.out
        )
    }

    /// Stages that stand side by side, row under row: each below everything it requires among them.
    fn layers(&self, stages: &[StageIx]) -> Vec<Vec<StageIx>> {
        let among: BTreeSet<StageIx> = stages.iter().copied().collect();
        let mut waits_for: BTreeMap<StageIx, usize> = stages.iter().map(|ix| (*ix, 0)).collect();
        let mut followers: BTreeMap<StageIx, Vec<StageIx>> = BTreeMap::new();
        for ix in stages {
            for required in self.stage(*ix).requires.iter().filter(|required| among.contains(*required)) {
                *waits_for.entry(*ix).or_default() += 1;
                followers.entry(*required).or_default().push(*ix);
            }
        }
        let mut layers = Vec::new();
        let mut layer: Vec<StageIx> = stages.iter().filter(|ix| waits_for[*ix] == 0).copied().collect();
        while !layer.is_empty() {
            let mut next = Vec::new();
            for follower in layer.iter().filter_map(|ix| followers.get(ix)).flatten() {
                let waits = waits_for.entry(*follower).or_default();
                *waits -= 1;
                if *waits == 0 {
                    next.push(*follower);
                }
            }
            layers.push(std::mem::replace(&mut layer, next));
        }
        layers
    }

    fn rows(&self, stages: &[StageIx]) -> Size {
        let rows = self.layers(stages).into_iter().map(|row| self.row(&row));
        stacked(rows, STEP)
    }

    fn row(&self, row: &[StageIx]) -> Size {
        beside(row.iter().map(|ix| self.size(*ix)))
    }

    /// How much room a stage takes, with everything inside it.
    fn size(&self, ix: StageIx) -> Size {
        let stage = self.stage(ix);
        let title = width_of(&label(stage)) + 2 * PADDING;
        let lists = self.lists(stage);
        if lists.is_empty() {
            return Size { width: title.max(96), height: BOX_HEIGHT };
        }
        let inside = beside(lists.iter().map(|(name, stages)| self.list(name, stages)));
        Size {
            width: title.max(inside.width + 2 * PADDING),
            height: LINE + PADDING + inside.height + PADDING,
        }
    }

    /// How much room one of the lists inside a stage takes.
    fn list(&self, name: &str, stages: &[StageIx]) -> Size {
        let rows = self.rows(stages);
        let width = rows.width.max(width_of(name)) + 2 * PADDING;
        Size { width, height: LINE + PADDING + rows.height + PADDING }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, Copy)]
struct Corner {
    x: u32,
    y: u32,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    corner: Corner,
    size: Size,
    /// Where the row ends that it stands in.
    row_end: u32,
}

fn beside(sizes: impl Iterator<Item = Size>) -> Size {
    sizes
        .reduce(|left, right| Size {
            width: left.width + GAP + right.width,
            height: left.height.max(right.height),
        })
        .unwrap_or_default()
}

fn stacked(sizes: impl Iterator<Item = Size>, gap: u32) -> Size {
    sizes
        .reduce(|above, below| Size {
            width: above.width.max(below.width),
            height: above.height + gap + below.height,
        })
        .unwrap_or_default()
}

struct Drawing<'p> {
    pipeline: &'p Pipeline,
    out: String,
    /// Where each stage has been drawn.
    places: BTreeMap<StageIx, Place>,
}

impl Drawing<'_> {
    /// Draws stages row under row, each row in the middle of `width`.
    fn rows(&mut self, stages: &[StageIx], at: Corner, width: u32) {
        let mut y = at.y;
        for row in self.pipeline.layers(stages) {
            let size = self.pipeline.row(&row);
            let mut x = at.x + (width - size.width) / 2;
            for ix in row {
                let place =
                    Place { corner: Corner { x, y }, size: self.pipeline.size(ix), row_end: y + size.height };
                self.stage(ix, place);
                x += place.size.width + GAP;
            }
            y += size.height + STEP;
        }
    }

    fn stage(&mut self, ix: StageIx, place: Place) {
        let pipeline = self.pipeline;
        let (stage, at, size) = (pipeline.stage(ix), place.corner, place.size);
        let lists = pipeline.lists(stage);
        self.places.insert(ix, place);
        if lists.is_empty() {
            self.shape(stage, at, size);
            return self.words(&label(stage), at.x + size.width / 2, at.y + BOX_HEIGHT / 2, "middle");
        }
        self.rectangle("group", at, size);
        self.words(&label(stage), at.x + PADDING, at.y + LINE / 2 + 2, "start");
        let inside = Corner { x: at.x + PADDING, y: at.y + LINE + PADDING };
        let mut x = inside.x;
        for (name, stages) in lists {
            let (at, size) = (Corner { x, y: inside.y }, pipeline.list(name, stages));
            self.rectangle("list", at, size);
            self.words(name, at.x + PADDING, at.y + LINE / 2 + 2, "start");
            let rows = Corner { x: at.x + PADDING, y: at.y + LINE + PADDING };
            self.rows(stages, rows, size.width - 2 * PADDING);
            x += size.width + GAP;
        }
    }

    /// People stand at a hexagon, programs run in a box.
    fn shape(&mut self, stage: &Stage, at: Corner, size: Size) {
        if !matches!(stage.work, Work::Gate(_)) {
            return self.rectangle("stage", at, size);
        }
        let (left, right, middle) = (at.x + PADDING, at.x + size.width - PADDING, at.y + size.height / 2);
        let points = [
            (at.x, middle),
            (left, at.y),
            (right, at.y),
            (at.x + size.width, middle),
            (right, at.y + size.height),
            (left, at.y + size.height),
        ];
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
        self.line(&format!("<polygon class=\"stage\" points=\"{}\"/>", points.join(" ")));
    }

    fn rectangle(&mut self, class: &str, at: Corner, size: Size) {
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
            at.x, at.y, size.width, size.height
        ));
    }

    fn words(&mut self, words: &str, x: u32, y: u32, anchor: &str) {
        self.line(&format!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" dominant-baseline=\"central\">{}</text>",
            escaped(words)
        ));
    }

    /// From the lower edge of what is required, past what stands beside it, to the upper edge of what requires it.
    fn edges(&mut self) {
        for ix in self.pipeline.places() {
            for required in &self.pipeline.stage(ix).requires {
                let (from, to) = (self.places[required], self.places[&ix]);
                let (x1, y1) = (from.corner.x + from.size.width / 2, from.corner.y + from.size.height);
                let (x2, y2) = (to.corner.x + to.size.width / 2, to.corner.y);
                let (down, bend) = (from.row_end, STEP / 2);
                self.line(&format!(
                    "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"M{x1} {y1}V{down}C{x1} {} {x2} {} {x2} {y2}\"/>",
                    down + bend,
                    y2.saturating_sub(bend)
                ));
            }
        }
    }

    fn line(&mut self, text: &str) {
        writeln!(self.out, "{text}").expect("writing to text cannot fail");
    }
}

/// How wide a text is drawn, at most: letters beyond ASCII may be twice as wide.
fn width_of(text: &str) -> u32 {
    harmless(text).chars().map(|letter| if letter.is_ascii() { LETTER } else { 2 * LETTER }).sum()
}

fn escaped(text: &str) -> String {
    let safe = harmless(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    safe.replace('"', "&quot;")
}
