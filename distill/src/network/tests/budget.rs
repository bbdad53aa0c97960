//! Budgets as they are written, and the widest network under one.

use super::super::SizeBudget;
use super::{CIFAR, MNIST, NetworkSpec, layered, named};

fn labels() -> Vec<String> {
    (0..10).map(|i| i.to_string()).collect()
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
    ] {
        let budget: SizeBudget = text.parse().unwrap();
        assert_eq!(budget, expected, "{text}");
        assert_eq!(budget.to_string().parse(), Ok(expected), "{text}");
    }
    for text in ["", "100", "KiB", "-1 KiB", "0 B", "1e9 MB", "100 Kib", "1.2.3 MB", "NaN B"] {
        let error = text.parse::<SizeBudget>().unwrap_err();
        assert!(error.contains("write a number and a unit"), "{error}");
    }
}

#[test]
fn the_widest_network_under_a_number_of_parameters_is_found() {
    // ds-cnn: w · 9 + 2 w, four blocks of w · 9 + 2 w + w² + 2 w, and 10 w + 10.
    let ds_cnn = |w: usize| 11 * w + 4 * (13 * w + w * w) + 10 * w + 10;
    for most in [1_000, 12_000, 100_000] {
        let fit = SizeBudget::Parameters(most as u64).widest(&named("ds-cnn"), &MNIST, &labels());
        let fit = fit.unwrap();
        let width = fit.spec.width.unwrap();
        assert_eq!(fit.parameters, ds_cnn(width));
        assert!(ds_cnn(width) <= most && ds_cnn(width + 1) > most, "{width}");
    }
    // 784 h + h + h · h/2 + h/2 + 10 · h/2 + 10: hidden layers stay as 2 to 1.
    let mlp = NetworkSpec { hidden: Some(vec![64, 32]), ..named("mlp") };
    let fit = SizeBudget::Parameters(50_000).widest(&mlp, &MNIST, &labels()).unwrap();
    assert_eq!(fit.spec.hidden, Some(vec![60, 30]));
    assert_eq!(fit.parameters, 785 * 60 + 61 * 30 + 31 * 10);
}

#[test]
fn the_widest_network_under_bytes_makes_a_file_that_fits_and_the_next_does_not() {
    for (name, kib) in [("ds-cnn", 40), ("resnet8", 100), ("mobilenet-v3-small", 300)] {
        let budget = SizeBudget::Bytes(kib * 1024);
        let fit = budget.widest(&named(name), &CIFAR, &labels()).unwrap();
        assert!(fit.bytes <= kib * 1024, "{name}: {fit:?}");
        assert!(fit.bytes > kib * 1024 * 3 / 4, "{name} could be wider: {fit:?}");
        assert_eq!(budget.widest(&named(name), &CIFAR, &labels()).unwrap(), fit);
        let wider = NetworkSpec { width: fit.spec.width.map(|w| w + 1), ..fit.spec };
        let graph = wider.build(&CIFAR, 10, 1).unwrap();
        assert!(graph.parameters() as u64 * 5 / 4 + 16_000 > fit.bytes, "{name}");
    }
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
        let error = budget.widest(&spec, &CIFAR, &labels()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = SizeBudget::Parameters(9).widest(&named("lenet"), &MNIST, &labels()).unwrap_err();
    assert!(error.to_string().contains("lenet, width 1 takes 2068 parameters"), "{error}");
}
