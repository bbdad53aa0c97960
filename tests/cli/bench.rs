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
    let layers = bench["layers"].as_array().unwrap();
    let names: Vec<_> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["quantize", "flatten", "fc", "dequantize"]);
    let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
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
    assert!(text.contains(" µs") && text.contains("arena ") && !text.contains("layer"), "{text}");
    let text = workdir.ok(&["bench", "rows.safetensors", "--runs", "20", "--profile"]);
    assert!(text.lines().any(|line| line.starts_with("fc ") && line.ends_with(" %")), "{text}");
}
