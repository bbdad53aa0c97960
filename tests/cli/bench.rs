//! `bench` on a model whose work is known.

use crate::util::{Workdir, rows_model_int8};

#[test]
fn percentiles_are_ordered_and_layers_share_the_whole() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model_int8());
    let bench = workdir.json(&["bench", "rows.safetensors", "--runs", "50", "--profile"]);
    let latency = &bench["latency_us"];
    let at = |name: &str| latency[name].as_f64().unwrap();
    assert!(at("p50") <= at("p90") && at("p90") <= at("p99"), "{latency}");
    assert_eq!((&latency["runs"], &bench["isa"]), (&50.into(), &"scalar".into()));
    assert_eq!(bench["macs"], 12);
    let profile = &bench["profile"];
    assert!(profile["peak"]["int8_gmacs"].as_f64().unwrap() > 0.0, "{profile}");
    let steps = profile["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["quantize", "flatten", "fc", "dequantize"]);
    let rated: Vec<_> = steps.iter().map(|step| step["of_peak"].is_number()).collect();
    assert_eq!((&rated[..2], rated[3]), (&[false, false][..], false), "{profile}");
    let shares: f64 = steps.iter().map(|step| step["share"].as_f64().unwrap()).sum();
    // A clock too coarse for these layers gives zeros.
    assert!((shares - 1.0).abs() < 1e-9 || shares == 0.0, "{shares}");
    if cfg!(target_os = "linux") {
        assert!(bench["peak_bytes"].as_u64().unwrap() > 100_000);
    }
}

#[test]
fn the_table_has_units_and_counts() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model_int8());
    let text = workdir.ok(&["bench", "rows.safetensors", "--runs", "20"]);
    assert!(text.starts_with("rows.safetensors: 20 inferences on scalar, 1 thread\n"), "{text}");
    assert!(text.contains(" µs") && text.contains("arena ") && !text.contains("kernel"), "{text}");
    let text = workdir.ok(&["bench", "rows.safetensors", "--runs", "20", "--profile"]);
    assert!(text.lines().any(|line| line.starts_with("fc ") && line.ends_with(" %")), "{text}");
    assert!(text.contains("one core   at most "), "{text}");
}

#[test]
fn threads_that_would_not_pay_are_not_started() {
    let workdir = Workdir::new();
    workdir.write("rows.safetensors", rows_model_int8());
    let bench = workdir.json(&["bench", "rows.safetensors", "--runs", "9", "--threads", "2"]);
    assert_eq!(bench["threads"], 1, "twelve products are no work for two");
}
