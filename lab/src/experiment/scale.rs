//! An axis's scale: from where to where, linear or logarithmic, and where its labels stand.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// A scale.
#[derive(Clone, Debug)]
pub struct Scale {
    range: Range<f64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Log,
    Places,
}

impl Scale {
    /// Equal distances for equal differences.
    pub fn linear(from: f64, to: f64) -> Scale {
        Scale { range: from..to.max(from + f64::EPSILON), kind: Kind::Linear }
    }

    /// Equal distances for equal ratios. Both ends are greater than 0.
    pub fn log(from: f64, to: f64) -> Scale {
        Scale { range: from..to, kind: Kind::Log }
    }

    /// Places for 1, 2, 3 … `count`.
    pub fn places(count: usize) -> Scale {
        Scale { range: 0.5..count as f64 + 0.5, kind: Kind::Places }
    }

    /// How a number is written at the axis.
    pub fn label(&self, value: f64) -> String {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Round numbers within the range, at most `most` of them: 1, 2 and 5 times powers of ten.
    fn round_numbers(&self, most: usize) -> Vec<f64> {
        let Range { start, end } = self.range;
        let steps = (-6..12).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10f64.powi(power)));
        match self.kind {
            Kind::Places => (1..=end as usize).map(|place| place as f64).collect(),
            Kind::Log => {
                let all: Vec<f64> = steps.filter(|n| (start..=end).contains(n)).collect();
                let decades = all.iter().copied().filter(|n| (n.log10().fract()).abs() < 1e-9);
                if all.len() <= most.max(3) { all } else { decades.collect() }
            }
            Kind::Linear => {
                let fits = |step: &f64| (end - start) / step <= most.max(2) as f64;
                let Some(step) = { steps }.find(fits) else { return Vec::new() };
                let first = (start / step).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|n| *n <= end).collect()
            }
        }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        let place = match self.kind {
            Kind::Log => (value / self.range.start).ln() / (self.range.end / self.range.start).ln(),
            _ => (value - self.range.start) / (self.range.end - self.range.start),
        };
        let place = place.clamp(-0.1, 1.1); // a point far outside is clipped, not wrapped
        pixels.0 + (place * f64::from(pixels.1 - pixels.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.round_numbers(hint.bold_points())
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_round_numbers() {
        assert_eq!(Scale::linear(0.0, 42.0).round_numbers(5), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Scale::log(0.08, 6.0).round_numbers(9), [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(Scale::log(0.5, 5000.0).round_numbers(6), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(Scale::linear(0.0, 1.0).label(0.2), "0.2");
    }

    #[test]
    fn the_middle_of_a_log_scale_is_the_geometric_mean() {
        assert_eq!(Scale::log(1.0, 100.0).map(&10.0, (0, 200)), 100);
        assert_eq!(Scale::linear(1.0, 101.0).map(&51.0, (200, 0)), 100);
    }
}
