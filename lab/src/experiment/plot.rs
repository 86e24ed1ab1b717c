//! A picture: measurements as points, the theory as a line, axes with units, a legend beside it.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::scale::Scale;

const SIZE: (u32, u32) = (1020, 560);
const LEGEND: u32 = 310;
const TITLE: (&str, i32) = ("sans-serif", 24);
const TEXT: (&str, i32) = ("sans-serif", 20);
const SMALL: (&str, i32) = ("sans-serif", 18);

/// Told apart by people who see colours differently, too (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// The same on a dark ground.
const NIGHT: [&str; 7] =
    ["#4aa8e8", "#ff8f4a", "#2fc79b", "#e5a0c6", "#f0b840", "#8accf2", "#a8b0ba"];

/// A colour of the palette, by number.
pub fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

/// What is drawn at each point, or between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line through the points: the theory.
    Line,
    /// A line through the points that is held until the next.
    Steps,
    /// A filled circle: a measurement.
    Dot,
    /// A circle that is not filled.
    Ring,
    /// A cross: something lost.
    Cross,
    /// A horizontal band from the first point to the second, and so on in pairs.
    Band,
}

/// One row of the legend, and what belongs to it.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its row in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Which colour of the palette.
    pub colour: usize,
    /// x and y, in the axes' units.
    pub points: Vec<(f64, f64)>,
}

/// A label at a place of the picture.
#[derive(Clone, Debug)]
pub struct Label {
    /// Where it begins, in the axes' units: at the middle of its left edge.
    pub at: (f64, f64),
    /// What it says.
    pub text: String,
}

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What and in which unit: "round trip, ms".
    pub name: String,
    /// From where to where, and how.
    pub scale: Scale,
    /// Names at some of its values, in place of numbers.
    pub names: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with numbers.
    pub fn new(name: impl Into<String>, scale: Scale) -> Axis {
        Axis { name: name.into(), scale, names: Vec::new() }
    }

    /// An axis with a name at each of 1, 2, 3 …
    pub fn named(name: impl Into<String>, names: &[String]) -> Axis {
        let numbered = names.iter().enumerate().map(|(i, name)| ((i + 1) as f64, name.clone()));
        Axis { name: name.into(), scale: Scale::places(names.len()), names: numbered.collect() }
    }

    fn label(&self, value: f64) -> String {
        if self.names.is_empty() {
            return self.scale.label(value);
        }
        let here = self.names.iter().find(|(at, _)| (at - value).abs() < 1e-9);
        here.map(|(_, name)| name.clone()).unwrap_or_default()
    }
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// One line above it.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below to above.
    pub y: Axis,
    /// What is in it. Later ones are drawn over earlier ones.
    pub series: Vec<Series>,
    /// Texts in it.
    pub labels: Vec<Label>,
}

impl Picture {
    /// Writes it as SVG.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw(&root).map_err(|e| anyhow!("cannot draw {}: {e}", path.display()))?;
        }
        std::fs::write(path, with_night(&text))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn draw(&self, root: &DrawingArea<SVGBackend, Shift>) -> Result<(), Trouble> {
        root.fill(&WHITE)?;
        let root = root.margin(8, 0, 0, 0).titled(&self.title, TITLE)?;
        let (plot, legend) = root.split_horizontally(SIZE.0 - LEGEND);
        let longest = self.y.names.iter().map(|(_, name)| name.len()).max().unwrap_or(0) as u32;
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(56)
            .y_label_area_size(76.max(longest * 9 + 10))
            .build_cartesian_2d(self.x.scale.clone(), self.y.scale.clone())?;
        let (x_label, y_label) = (|v: &f64| self.x.label(*v), |v: &f64| self.y.label(*v));
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style(SMALL)
            .axis_desc_style(TEXT)
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .x_label_formatter(&x_label)
            .y_label_formatter(&y_label)
            .draw()?;
        let area = chart.plotting_area();
        for series in &self.series {
            draw_series(area, series)?;
        }
        for label in &self.labels {
            let style = TextStyle::from(SMALL).pos(text_anchor());
            area.draw(&Text::new(label.text.as_str(), label.at, style))?;
        }
        for (row, series) in self.series.iter().enumerate() {
            draw_key(&legend, series, 22 + 24 * row as i32)?;
        }
        root.present()
    }
}

/// The picture with other colours where the reader's are dark: rules win over attributes.
fn with_night(picture: &str) -> String {
    let day = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let mut rules = String::new();
    for (colour, night) in COLOURS.iter().zip(NIGHT) {
        for name in ["fill", "stroke"] {
            let _ = write!(rules, "[{name}=\"{}\"]{{{name}:{night}}}", day(*colour));
        }
    }
    let style = format!(
        "<style>@media (prefers-color-scheme:dark){{rect[fill=\"{}\"]{{fill:#11161d}}\
         text{{fill:#dde4ec}}[stroke=\"{}\"]{{stroke:#94a1b0}}{rules}}}</style>",
        day(WHITE),
        day(BLACK)
    );
    // Behind the first tag, which is the picture's own.
    match picture
        .split_once("<svg")
        .and_then(|(before, rest)| Some((before, rest.split_once('>')?)))
    {
        Some((before, (tag, rest))) => format!("{before}<svg{tag}>\n{style}{rest}"),
        None => picture.to_owned(),
    }
}

type Trouble = DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>;
type Area<'a, 'b> = DrawingArea<SVGBackend<'a>, Cartesian2d<Scale, Scale>>;

fn text_anchor() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Left, VPos::Center)
}

fn draw_series(area: &Area, series: &Series) -> Result<(), Trouble> {
    let (style, points) = (colour(series.colour), &series.points);
    let stroke = style.stroke_width(2);
    match series.mark {
        Mark::Line => area.draw(&PathElement::new(points.clone(), stroke))?,
        Mark::Steps => area.draw(&PathElement::new(steps(points), stroke))?,
        Mark::Dot => for_each(points, |at| area.draw(&Circle::new(at, 4, style.filled())))?,
        Mark::Ring => for_each(points, |at| area.draw(&Circle::new(at, 6, stroke)))?,
        Mark::Cross => for_each(points, |at| area.draw(&Cross::new(at, 6, stroke)))?,
        Mark::Band => {
            for pair in points.chunks_exact(2) {
                let [(from, row), (to, _)] = [pair[0], pair[1]];
                let corners = [(from, row - 0.3), (to, row + 0.3)];
                area.draw(&Rectangle::new(corners, style.filled()))?;
            }
        }
    }
    Ok(())
}

fn for_each(
    points: &[(f64, f64)],
    draw: impl FnMut((f64, f64)) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    points.iter().copied().try_for_each(draw)
}

fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut path: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        if let Some(&(_, before)) = path.last() {
            path.push((x, before));
        }
        path.push((x, y));
    }
    path
}

fn draw_key(legend: &DrawingArea<SVGBackend, Shift>, key: &Series, y: i32) -> Result<(), Trouble> {
    let style = colour(key.colour);
    let stroke = style.stroke_width(2);
    let middle = (17, y);
    match key.mark {
        Mark::Line | Mark::Steps => {
            legend.draw(&PathElement::new(vec![(6, y), (28, y)], stroke))?
        }
        Mark::Dot => legend.draw(&Circle::new(middle, 4, style.filled()))?,
        Mark::Ring => legend.draw(&Circle::new(middle, 6, stroke))?,
        Mark::Cross => legend.draw(&Cross::new(middle, 6, stroke))?,
        Mark::Band => {
            legend.draw(&Rectangle::new([(8, y - 6), (26, y + 6)], style.filled()))?;
        }
    }
    let style = TextStyle::from(SMALL).pos(text_anchor());
    legend.draw(&Text::new(key.name.as_str(), (36, y), style))
}
