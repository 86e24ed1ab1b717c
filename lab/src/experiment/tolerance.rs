//! How late the link may be for what an experiment measures.

use std::time::Duration;

use crate::link::Lateness;

/// What an experiment needs of its links.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// So many of the packets, as a share, ...
    share: f64,
    /// ... are to be at most so late.
    most: Duration,
}

impl Tolerance {
    /// No packet may be later: for what a single one decides.
    pub const fn all(most: Duration) -> Tolerance {
        Tolerance { share: 1.0, most }
    }

    /// Nine packets in ten may not be later: for medians and the like, which the rest does not
    /// move.
    pub const fn nine_in_ten(most: Duration) -> Tolerance {
        Tolerance { share: 0.9, most }
    }

    /// In words, if it was too late: "the link was 4.1 ms late, where 0.5 ms are tolerated".
    pub fn late(&self, link: &Lateness) -> Option<String> {
        let ms = |late: Duration| late.as_secs_f64() * 1e3;
        let late = link.of(self.share);
        let text = || {
            format!(
                "the link was {:.1} ms late, where {} ms are tolerated",
                ms(late),
                ms(self.most)
            )
        };
        (late > self.most).then(text)
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
        let late = Tolerance::all(ms(2)).late(&link);
        assert_eq!(late.as_deref(), Some("the link was 9.0 ms late, where 2 ms are tolerated"));
        link.add(0, 9_000_000);
        assert!(Tolerance::nine_in_ten(ms(2)).late(&link).is_some());
        // Without a packet nothing is late.
        assert_eq!(Tolerance::all(ms(0)).late(&Lateness::default()), None);
    }
}
