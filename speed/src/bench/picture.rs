//! The tables as pictures: a line a peer where x varies, bars where it does not.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::frames;
use crate::measure::Measured;
use crate::report::column;
use crate::servers::{self, AT_SCALE};
use crate::steps;
use crate::units::digits;

const SIZE: (u32, u32) = (900, 520);
/// Where the chart ends and the names begin.
const CHART: i32 = 690;
/// One a peer, each told from the others on white.
const COLOURS: [RGBColor; 14] = [
    RGBColor(120, 120, 120),
    RGBColor(214, 39, 40),
    RGBColor(31, 90, 180),
    RGBColor(0, 150, 136),
    RGBColor(230, 126, 0),
    RGBColor(120, 70, 160),
    RGBColor(190, 130, 210),
    RGBColor(120, 80, 30),
    RGBColor(190, 150, 90),
    RGBColor(0, 0, 0),
    RGBColor(44, 140, 44),
    RGBColor(220, 80, 150),
    RGBColor(60, 170, 220),
    RGBColor(150, 150, 0),
];
const OURS: RGBColor = RGBColor(33, 102, 172);
const THEIRS: RGBColor = RGBColor(120, 120, 120);

/// One picture a table. Returns their paths.
pub fn draw_all(dir: &Path, measured: &Measured) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (section, metric) in measured.tables() {
        if steps::SERIES.contains(&section) {
            continue; // a table says it all
        }
        let name = format!("{section} {metric}");
        let words =
            name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let path = dir.join(words.collect::<Vec<_>>().join("-") + ".svg");
        let xs = measured.distinct(section, metric, |row| row.x);
        let over = if metric == frames::METRIC { ", times the article's" } else { "" };
        let title = format!("{section}: {metric}{over}");
        if xs.len() > 2 && xs[0] > 0 {
            let peers = measured.distinct(section, metric, |row| row.peer.as_str());
            lines(&path, &title, measured, section, metric, &xs, &peers)?;
        } else {
            bars(&path, &title, measured, section, metric)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

/// The servers that the page shows, by the number of their connections.
pub fn at_scale(path: &Path, measured: &Measured, metric: &str, xs: &[usize]) -> io::Result<()> {
    lines(path, "", measured, servers::SECTION, metric, xs, &AT_SCALE.map(|(name, _)| name))
}

fn lines(
    path: &Path,
    title: &str,
    measured: &Measured,
    section: &str,
    metric: &str,
    xs: &[usize],
    peers: &[&str],
) -> io::Result<()> {
    let points = |peer| {
        let at = |&x: &usize| {
            let value = measured.median(section, peer, x, metric)?;
            // The sizes differ by more than the peers do.
            let relative = metric == frames::METRIC;
            let one = if relative { measured.median(section, "article", x, metric)? } else { 1.0 };
            Some((x as f64, value / one))
        };
        xs.iter().filter_map(at).filter(|&(_, y)| y > 0.0).collect::<Vec<_>>()
    };
    let all: Vec<f64> = peers.iter().flat_map(|peer| points(peer)).map(|(_, y)| y).collect();
    let (low, high) =
        (all.iter().copied().fold(1e12, f64::min), all.iter().fold(0.0, |a, &b| b.max(a)));

    let base = if section == frames::SECTION { 4.0 } else { 10.0 }; // where the labels stand
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(other)?;
    let (left, names) = root.split_horizontally(CHART);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (xs[0] as f64..xs[xs.len() - 1] as f64).log_scale().base(base),
            (low / 1.5..high * 1.5).log_scale(),
        )
        .map_err(other)?;
    chart
        .configure_mesh()
        .x_label_formatter(&|x| column(section, *x as usize))
        .y_label_formatter(&|y| y.to_string())
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(other)?;
    for (i, (peer, colour)) in peers.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let width = if peer.starts_with("ours") { 3 } else { 1 };
        let style = colour.stroke_width(width);
        chart.draw_series(LineSeries::new(points(peer), style).point_size(3)).map_err(other)?;

        let top = 60 + 22 * i as i32;
        let line = PathElement::new([(0, top), (24, top)], colour.stroke_width(3));
        names.draw(&line).map_err(other)?;
        let font = ("sans-serif", 14).into_font();
        names.draw(&Text::new(peer.to_string(), (32, top - 7), font)).map_err(other)?;
    }
    root.present().map_err(other)
}

/// A bar a row, the longest the widest; its value stands after it.
fn bars(
    path: &Path,
    title: &str,
    measured: &Measured,
    section: &str,
    metric: &str,
) -> io::Result<()> {
    let mut rows = Vec::new();
    let xs = measured.distinct(section, metric, |row| row.x);
    for &x in &xs {
        for peer in measured.distinct(section, metric, |row| row.peer.as_str()) {
            if let Some(value) = measured.median(section, peer, x, metric) {
                let x =
                    if xs.len() > 1 { format!(", {}", column(section, x)) } else { String::new() };
                rows.push((format!("{peer}{x}"), value));
            }
        }
    }
    // A bar a thousand times as long as the rest would hide them: it is cut.
    let mut values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let longest = values.last().copied().unwrap_or(1.0).min(20.0 * values[values.len() / 2]);

    let height = 60 + 26 * rows.len() as u32;
    let root = SVGBackend::new(path, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE).map_err(other)?;
    let font = |size: i32| ("sans-serif", size).into_font();
    root.draw(&Text::new(title.to_owned(), (20, 14), font(22))).map_err(other)?;
    for (i, (label, value)) in rows.iter().enumerate() {
        let (top, left) = (50 + 26 * i as i32, 290);
        let cut = *value > longest;
        let right = left + (460.0 * value.min(longest) / longest) as i32;
        let colour = if label.starts_with("ours") { OURS } else { THEIRS };
        let bar = Rectangle::new([(left, top), (right.max(left + 1), top + 18)], colour.filled());
        root.draw(&bar).map_err(other)?;
        root.draw(&Text::new(label.clone(), (20, top + 2), font(15))).map_err(other)?;
        let value = format!("{}{}", if cut { "… " } else { "" }, digits(*value));
        root.draw(&Text::new(value, (right + 8, top + 2), font(15))).map_err(other)?;
    }
    root.present().map_err(other)
}

fn other(e: impl Display) -> io::Error {
    io::Error::other(format!("a picture: {e}"))
}
