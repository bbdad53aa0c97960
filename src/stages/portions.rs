//! Which samples calibrate int8, and which judge it: never the test samples.

use hipflask_distill::data::{DataSet, Split, shuffled};
use hipflask_quantize::Method;
use serde::Serialize;

use super::samples::spread;
use crate::recipe::schema::CalibrationTable;

/// Most samples that int8 is judged on, unless `--held` says otherwise.
pub const HELD: usize = 4096;

/// Samples for calibration, and others to choose by.
pub struct Portions {
    /// Training samples that int8 is calibrated with.
    pub calibration: Split,
    /// Samples that choices are made by; none where nothing is to be chosen.
    pub held: Split,
    /// What those are.
    pub origin: Origin,
}

/// Where held samples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The validation samples of the data set: training has not seen them.
    Validation,
    /// Training samples that calibration does not use: training has seen them.
    Training,
    /// The calibration sample itself: there is no other.
    Calibration,
}

impl Origin {
    /// How a text calls them.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Validation => "validation samples",
            Self::Training => "training samples that calibration does not use",
            Self::Calibration => "calibration sample, for want of another",
        }
    }
}

impl Portions {
    /// What the recipe's `table` asks for; only its method may have something to choose.
    pub fn of_recipe(data: &DataSet, table: &CalibrationTable) -> Self {
        Self::of(data, table.samples, (table.method == Method::Auto).then_some(HELD), None)
    }

    /// `calibrate` training samples, spread evenly or drawn under `seed`; and where something is to be chosen, up to `judge`
    /// of the validation samples, or where there are none, of the other training samples. Where there
    /// are too few for both, half of them calibrate.
    pub fn of(data: &DataSet, calibrate: usize, judge: Option<usize>, seed: Option<u64>) -> Self {
        let (train, len) = (&data.train, data.train.len());
        let choose = |count: usize| match seed {
            None => spread(len, count),
            Some(seed) => {
                let mut drawn = shuffled(len, seed, 0);
                drawn.truncate(count);
                drawn.sort_unstable();
                drawn
            }
        };
        let validation = data.validation.as_ref().filter(|split| !split.is_empty());
        let Some(judge) = judge else {
            let calibration = train.select(&choose(calibrate));
            return Self { calibration, held: train.none(), origin: Origin::Training };
        };
        if let Some(validation) = validation {
            let held = validation.select(&spread(validation.len(), judge));
            let calibration = train.select(&choose(calibrate));
            return Self { calibration, held, origin: Origin::Validation };
        }
        let count = if len > 1 { calibrate.min(len / 2) } else { calibrate.min(len) };
        let chosen = choose(count);
        let calibration = train.select(&chosen);
        let rest: Vec<usize> = (0..len).filter(|i| chosen.binary_search(i).is_err()).collect();
        if rest.is_empty() {
            return Self { held: calibration.clone(), calibration, origin: Origin::Calibration };
        }
        let held: Vec<usize> = spread(rest.len(), judge).into_iter().map(|i| rest[i]).collect();
        Self { calibration, held: train.select(&held), origin: Origin::Training }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use hipflask_distill::data::{DataSpec, Places};

    use super::*;

    fn digits(spec: &DataSpec) -> DataSet {
        DataSet::open(spec, &Places::default(), 1).unwrap()
    }

    #[test]
    fn held_samples_are_the_validation_samples_or_the_rest() {
        let data = digits(&DataSpec { validation: 200, ..DataSpec::default() });
        let portions = Portions::of(&data, 100, Some(HELD), None);
        assert_eq!(portions.origin, Origin::Validation);
        assert_eq!(portions.held, data.validation.clone().unwrap());
        assert_eq!(portions.calibration, data.train.select(&spread(data.train.len(), 100)));

        // Drawn, they are others under each seed, and the same under one.
        let drawn = |seed| Portions::of(&data, 100, None, Some(seed)).calibration;
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_eq!(drawn(2).len(), 100);

        let data = digits(&DataSpec { limit: Some(30), ..DataSpec::default() });
        for (calibrate, judge, sizes) in
            [(10, HELD, (10, 20)), (10, 5, (10, 5)), (512, HELD, (15, 15))]
        {
            let portions = Portions::of(&data, calibrate, Some(judge), None);
            assert_eq!((portions.calibration.len(), portions.held.len()), sizes);
            assert_eq!(portions.origin, Origin::Training);
            // No sample is in both: each is in the set once.
            let place = |split: &Split, i: usize| {
                let one = split.select(&[i]);
                (0..data.train.len()).position(|j| data.train.select(&[j]) == one).unwrap()
            };
            let mut places: Vec<usize> = (0..sizes.0)
                .map(|i| place(&portions.calibration, i))
                .chain((0..sizes.1).map(|i| place(&portions.held, i)))
                .collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), sizes.0 + sizes.1);
        }
        let data = digits(&DataSpec { limit: Some(1), ..DataSpec::default() });
        let portions = Portions::of(&data, 512, Some(HELD), None);
        assert_eq!((portions.calibration.len(), portions.held.len()), (1, 1));
        assert_eq!(portions.origin, Origin::Calibration);
        assert!(Portions::of(&data, 512, None, None).held.is_empty());
    }
}
