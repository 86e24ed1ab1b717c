//! How late the link may be for what an experiment measures.

use std::time::Duration;

use crate::link::Lateness;

/// What an experiment needs of its links.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Nine packets in ten are to be at most so late ...
    nine_in_ten: Duration,
    /// ... and all of them so late.
    all: Duration,
}

impl Tolerance {
    /// No packet may be later: for what a single one decides.
    pub const fn all(most: Duration) -> Tolerance {
        Tolerance { nine_in_ten: most, all: most }
    }

    /// Nine packets in ten may not be later: for medians and the like, which the rest does not
    /// move.
    pub const fn nine_in_ten(most: Duration) -> Tolerance {
        Tolerance { nine_in_ten: most, all: Duration::MAX }
    }

    /// And no packet later than this.
    pub const fn and_all(self, most: Duration) -> Tolerance {
        Tolerance { all: most, ..self }
    }

    /// In words, if it was too late: "the link was 4.1 ms late, where 0.5 ms are tolerated".
    pub fn late(&self, link: &Lateness) -> Option<String> {
        let ms = |late: Duration| late.as_secs_f64() * 1e3;
        let limits = [(link.of(0.9), self.nine_in_ten), (link.worst(), self.all)];
        let (late, most) = limits.into_iter().find(|(late, most)| late > most)?;
        Some(format!("the link was {:.1} ms late, where {} ms are tolerated", ms(late), ms(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_packet_is_one_too_many_or_one_in_ten() {
        let ms = Duration::from_millis;
        let mut link = Lateness::default();
        for late in [1, 1, 1, 1, 1, 1, 1, 1, 1, 9] {
            link.add(0, late * 1_000_000);
        }
        assert_eq!(Tolerance::nine_in_ten(ms(2)).late(&link), None);
        assert_eq!(Tolerance::all(ms(9)).late(&link), None);
        for strict in [Tolerance::all(ms(2)), Tolerance::nine_in_ten(ms(3)).and_all(ms(2))] {
            let late = strict.late(&link);
            assert_eq!(late.as_deref(), Some("the link was 9.0 ms late, where 2 ms are tolerated"));
        }
        link.add(0, 9_000_000);
        assert!(Tolerance::nine_in_ten(ms(2)).late(&link).is_some());
        // Without a packet nothing is late.
        assert_eq!(Tolerance::all(ms(0)).late(&Lateness::default()), None);
    }
}
