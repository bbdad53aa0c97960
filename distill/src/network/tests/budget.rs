//! Budgets as they are written, and the widest network under one.

use super::super::{Described, Fit, SizeBudget, Sizes, untrained_int8};
use super::{CIFAR, MNIST, NetworkSpec, layered, named};
use crate::Result;

fn labels() -> Vec<String> {
    (0..10).map(|i| i.to_string()).collect()
}

fn widest(budget: SizeBudget, spec: &NetworkSpec, input: &[usize]) -> Result<Fit> {
    budget.widest(spec, input, Described { labels: &labels(), preprocess: None })
}

#[test]
fn a_budget_reads_numbers_with_units() {
    for (text, expected) in [
        ("100 KiB", SizeBudget::Bytes(102_400)),
        ("100KiB", SizeBudget::Bytes(102_400)),
        ("1.5 MB", SizeBudget::Bytes(1_500_000)),
        ("2 MiB", SizeBudget::Bytes(2_097_152)),
        ("20000 B", SizeBudget::Bytes(20_000)),
        ("12000 params", SizeBudget::Parameters(12_000)),
        ("12k params", SizeBudget::Parameters(12_000)),
        ("0.25 M params", SizeBudget::Parameters(250_000)),
        ("64 KiB ram", SizeBudget::Ram(65_536)),
        ("64K ram", SizeBudget::Ram(65_536)),
        ("64K", SizeBudget::Bytes(65_536)),
        ("5.5M macs", SizeBudget::Macs(5_500_000)),
    ] {
        let budget: SizeBudget = text.parse().unwrap();
        assert_eq!(budget, expected, "{text}");
        assert_eq!(budget.to_string().parse(), Ok(expected), "{text}");
    }
    for text in [
        "", "100", "KiB", "-1 KiB", "0 B", "1e9 MB", "100 Kib", "1.2.3 MB", "NaN B", "64 ram K",
        "macs",
    ] {
        let error = text.parse::<SizeBudget>().unwrap_err();
        assert!(error.contains("write a number and a unit"), "{error}");
    }
}

#[test]
fn the_widest_network_under_a_number_of_parameters_is_found() {
    // ds-cnn: w · 9 + 2 w, four blocks of w · 9 + 2 w + w² + 2 w, and 10 w + 10.
    let ds_cnn = |w: usize| 11 * w + 4 * (13 * w + w * w) + 10 * w + 10;
    for most in [1_000, 12_000, 100_000] {
        let fit = widest(SizeBudget::Parameters(most as u64), &named("ds-cnn"), &MNIST);
        let fit = fit.unwrap();
        let width = fit.spec.width.unwrap();
        assert_eq!(fit.parameters, ds_cnn(width));
        assert!(ds_cnn(width) <= most && ds_cnn(width + 1) > most, "{width}");
    }
    // 784 h + h + h · h/2 + h/2 + 10 · h/2 + 10: hidden layers stay as 2 to 1.
    let mlp = NetworkSpec { hidden: Some(vec![64, 32]), ..named("mlp") };
    let fit = widest(SizeBudget::Parameters(50_000), &mlp, &MNIST).unwrap();
    assert_eq!(fit.spec.hidden, Some(vec![60, 30]));
    assert_eq!(fit.parameters, 785 * 60 + 61 * 30 + 31 * 10);
}

#[test]
fn the_widest_network_under_a_budget_fits_and_the_next_does_not() {
    let bytes = |kib: u64| SizeBudget::Bytes(kib * 1024);
    for (name, budget) in [
        ("ds-cnn", bytes(40)),
        ("resnet8", bytes(100)),
        ("mobilenet-v3-small", bytes(300)),
        ("ds-cnn", SizeBudget::Ram(64 * 1024)),
        ("resnet8", SizeBudget::Macs(5_000_000)),
    ] {
        let fit = widest(budget, &named(name), &CIFAR).unwrap();
        assert_eq!(widest(budget, &named(name), &CIFAR).unwrap(), fit);
        let taken = |spec: &NetworkSpec| {
            let graph = untrained_int8(&spec.build(&CIFAR, 10, 1).unwrap()).unwrap();
            let labels = labels();
            let sizes = Sizes::of(&graph, Described { labels: &labels, preprocess: None }).unwrap();
            match budget {
                SizeBudget::Bytes(most) => (sizes.file_bytes, most),
                SizeBudget::Ram(most) => (sizes.memory_bytes, most),
                SizeBudget::Macs(most) => (sizes.macs, most),
                SizeBudget::Parameters(_) => unreachable!("none is asked for"),
            }
        };
        let (taken_by_fit, most) = taken(&fit.spec);
        assert!(taken_by_fit <= most, "{name}: {fit:?}");
        let next = fit.spec.width.unwrap() + 1;
        let wider = NetworkSpec { width: Some(next), ..fit.spec.clone() };
        assert!(taken(&wider).0 > most, "{name} could be wider: {fit:?}");
    }
}

#[test]
fn a_budget_of_memory_does_not_choose_gigabytes_of_weights() {
    // The values of such a network are few however wide it is.
    let fit = widest(SizeBudget::Ram(1 << 30), &named("mlp"), &MNIST).unwrap();
    assert!(fit.parameters <= 1 << 24 && fit.parameters > 1 << 23, "{fit:?}");
}

#[test]
fn a_budget_that_chooses_nothing_is_refused() {
    let budget = SizeBudget::Bytes(2048);
    for (spec, part) in [
        (named("mobilenet-v2"), "size_budget: 2 KiB is too small: mobilenet-v2, width 1 takes"),
        (NetworkSpec { width: Some(3), ..named("ds-cnn") }, "leave `width` out"),
        (layered(&["relu"]), "`layers` have their own sizes"),
        (NetworkSpec { hidden: Some(Vec::new()), ..named("mlp") }, "there is none"),
        (named("resnet21"), "network: \"resnet21\" is not known"),
        (NetworkSpec { depth: Some(9), ..named("resnet") }, "depth: 9 is none of a resnet's"),
    ] {
        let error = widest(budget, &spec, &CIFAR).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    for (budget, part) in [
        (SizeBudget::Parameters(9), "9 params is too small: lenet, width 1 takes 2068 parameters"),
        (SizeBudget::Ram(9), "9 B ram is too small: lenet, width 1 takes"),
        (SizeBudget::Macs(9), "9 macs is too small: lenet, width 1 takes"),
    ] {
        let error = widest(budget, &named("lenet"), &MNIST).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
