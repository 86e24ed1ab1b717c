//! How late packets were: what the link decides is exact, when this machine does it is not.

use std::fmt;
use std::time::Duration;

use crate::record::Nanos;

/// By how much packets were handed over later than they were due, in as many words of memory for a
/// million of them as for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// How many were how late: see `place`.
    counts: [u64; PLACES],
    worst: Nanos,
}

/// Four to each power of two, so a value is known to a quarter of it.
const PLACES: usize = 4 * 63;

fn place(late: Nanos) -> usize {
    match late {
        0..4 => late as usize,
        _ => {
            let power = late.ilog2() as usize;
            4 * (power - 1) + (late >> (power - 2)) as usize % 4
        }
    }
}

/// The largest value that has this place.
fn most_at(place: usize) -> Nanos {
    match place {
        0..4 => place as Nanos,
        _ => {
            let power = place / 4 + 1;
            let step = 1 << (power - 2);
            (1 << power) - 1 + (place as Nanos % 4 + 1) * step
        }
    }
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness { counts: [0; PLACES], worst: 0 }
    }
}

impl Lateness {
    /// A packet that was due then was handed over now.
    pub(crate) fn add(&mut self, due: Nanos, now: Nanos) {
        let late = now.saturating_sub(due);
        self.counts[place(late)] += 1;
        self.worst = self.worst.max(late);
    }

    /// Counts the packets of another link, too.
    pub fn merge(&mut self, other: &Lateness) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.worst = self.worst.max(other.worst);
    }

    /// How many packets were handed over.
    pub fn packets(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// This share of the packets (0.5: half of them) was at most so late. At most a quarter too
    /// large.
    pub fn of(&self, share: f64) -> Duration {
        let wanted = (self.packets() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let within = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_nanos(within.map_or(0, most_at).min(self.worst))
    }

    /// For a picture: times, and the share of the packets that were at most so late.
    pub fn shares(&self) -> Vec<(Duration, f64)> {
        let all = self.packets() as f64;
        let mut seen = 0;
        let shares = (0..).zip(self.counts).filter(|(_, count)| *count > 0);
        let shares = shares.map(|(place, count)| {
            seen += count;
            (Duration::from_nanos(most_at(place).min(self.worst)), seen as f64 / all)
        });
        shares.collect()
    }

    /// Half of the packets were at most so late.
    pub fn median(&self) -> Duration {
        self.of(0.5)
    }

    /// No packet was later.
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst)
    }
}

/// "half of 812 packets at most 0.06 ms late, nine in ten 0.11 ms, all 1.32 ms".
impl fmt::Display for Lateness {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let ms = |late: Duration| late.as_secs_f64() * 1e3;
        write!(
            out,
            "half of {} packets at most {:.2} ms late, nine in ten {:.2} ms, all {:.2} ms",
            self.packets(),
            ms(self.median()),
            ms(self.of(0.9)),
            ms(self.worst()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_a_place_and_the_places_are_in_order() {
        let mut least = 0;
        for at in 0..PLACES {
            let most = most_at(at);
            assert_eq!((place(least), place(most)), (at, at), "{least} to {most}");
            assert!(most - least <= least / 4, "{least} to {most}: known to a quarter");
            least = most.wrapping_add(1);
        }
        assert_eq!(least, 0, "the last place is that of the largest value");
    }

    #[test]
    fn worst_and_median() {
        let mut late = Lateness::default();
        assert_eq!((late.median(), late.worst()), (Duration::ZERO, Duration::ZERO));
        for ms in 1..=99 {
            late.add(1_000, 1_000 + ms * 1_000_000);
        }
        late.add(7_000, 6_000); // a clock that was set back
        assert_eq!(late.packets(), 100);
        assert_eq!(late.worst(), Duration::from_millis(99));
        let about = |share, ms| {
            let observed = late.of(share).as_secs_f64() * 1e3;
            assert!((ms..=ms * 1.25).contains(&observed), "{share}: {observed} ms");
        };
        about(0.5, 49.0);
        about(0.9, 89.0);
        about(1.0, 99.0);
        assert_eq!(late.of(0.01), Duration::ZERO);
        let shares = late.shares();
        assert_eq!(shares[0], (Duration::ZERO, 0.01));
        assert_eq!(shares.last(), Some(&(Duration::from_millis(99), 1.0)));
        assert!(shares.is_sorted());
        assert!(late.to_string().starts_with("half of 100 packets at most "), "{late}");
    }

    #[test]
    fn two_links_are_as_one() {
        let (mut one, mut two, mut both) = <(Lateness, Lateness, Lateness)>::default();
        for late in [5, 80, 3_000, 1_000_000] {
            one.add(0, late);
            two.add(0, 2 * late);
            both.add(0, late);
            both.add(0, 2 * late);
        }
        one.merge(&two);
        assert_eq!(one, both);
    }
}
