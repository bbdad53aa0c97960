//! Element types, and data in other files.

use half::{bf16, f16};

use super::build::Net;
use super::{assert_close, run};
use crate::onnx::proto::{StringStringEntryProto, TensorProto};
use crate::onnx::tensors::data_type::{BFLOAT16, DOUBLE, FLOAT, FLOAT16};

/// A model that multiplies its two features by the weights `tensor`, of shape `[2, 1]`.
fn weighted(tensor: TensorProto) -> Net {
    let mut net = Net::new(17, &[1, 2]);
    net.graph().initializer.push(TensorProto { name: "w".into(), dims: vec![2, 1], ..tensor });
    net.node("MatMul", &["x", "w"], "y", &[])
}

#[test]
fn weights_of_every_float_type_are_read() {
    let halves = [1.5, -2.0].map(f16::from_f32);
    let brains = [1.5, -2.0].map(bf16::from_f32);
    let t = |data_type| TensorProto { data_type, ..Default::default() };
    let raw = |data_type, bytes: Vec<u8>| TensorProto { raw_data: bytes.into(), ..t(data_type) };
    for tensor in [
        TensorProto { float_data: vec![1.5, -2.0], ..t(FLOAT) },
        TensorProto { double_data: vec![1.5, -2.0], ..t(DOUBLE) },
        TensorProto { int32_data: halves.map(|h| h.to_bits().into()).to_vec(), ..t(FLOAT16) },
        TensorProto { int32_data: brains.map(|h| h.to_bits().into()).to_vec(), ..t(BFLOAT16) },
        raw(FLOAT, [1.5_f32, -2.0].map(f32::to_le_bytes).concat()),
        raw(DOUBLE, [1.5_f64, -2.0].map(f64::to_le_bytes).concat()),
        raw(FLOAT16, halves.map(f16::to_le_bytes).concat()),
        raw(BFLOAT16, brains.map(bf16::to_le_bytes).concat()),
    ] {
        assert_close(&run(&weighted(tensor), &[10.0, 1.0]), &[13.0]);
    }
}

/// The pretrained ResNets of He et al. 2016 for CIFAR-10, as PyTorch exported them.
#[test]
#[expect(clippy::print_stderr, reason = "a skip is not a pass")]
fn pretrained_networks_have_the_published_number_of_parameters() {
    let Some(data) = std::env::var_os("HIPFLASK_DATA") else {
        eprintln!("skipped: pretrained_networks: HIPFLASK_DATA is not set");
        return;
    };
    for (name, millions) in [("resnet20", 0.27), ("resnet56", 0.85)] {
        let file = format!("models/cifar10-{name}-opset13.onnx");
        let path = std::path::Path::new(&data).join(file);
        if !path.exists() {
            eprintln!("skipped: pretrained_networks: {} is not there", path.display());
            continue;
        }
        let graph = crate::onnx::open(path).unwrap();
        // Their table 6 rounds to two digits; the export folded the batch norms away.
        let found = graph.parameters() as f64 / 1e6;
        assert!((found - millions).abs() < 0.01, "{name}: {found} million");
        assert_eq!(graph.value(graph.outputs[0]).shape[..], [1, 10]);
    }
}

/// A model in `folder` whose weights are said to be at `location`, from byte 4.
fn external(
    folder: &std::path::Path,
    location: &str,
    length: Option<&str>,
) -> crate::Result<Vec<f32>> {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let mut external_data = vec![entry("location", location), entry("offset", "4")];
    external_data.extend(length.map(|length| entry("length", length)));
    let tensor =
        TensorProto { data_type: FLOAT, data_location: 1, external_data, ..Default::default() };
    let path = folder.join("net.onnx");
    std::fs::write(&path, weighted(tensor).bytes()).unwrap();
    let graph = crate::onnx::open(&path)?;
    Ok(graph.f32s(&graph.nodes[0], "weight")?.into_owned())
}

#[test]
fn weights_may_lie_in_a_file_beside_the_model_and_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("model");
    std::fs::create_dir_all(folder.join("part")).unwrap();
    let bytes: Vec<u8> = [0.0_f32, 1.5, -2.0].map(f32::to_le_bytes).concat();
    for place in ["model/weights.bin", "model/part/weights.bin", "secret.bin"] {
        std::fs::write(outside.path().join(place), &bytes).unwrap();
    }
    for length in [None, Some("8")] {
        assert_eq!(external(&folder, "weights.bin", length).unwrap(), [1.5, -2.0]);
        assert_eq!(external(&folder, "part/weights.bin", length).unwrap(), [1.5, -2.0]);
    }
    let absolute = outside.path().join("secret.bin").display().to_string();
    let refused = |location: &str, length: Option<&str>| {
        external(&folder, location, length).unwrap_err().to_string()
    };
    for location in ["../secret.bin", "part/../../secret.bin", &absolute, "", ".", "/"] {
        let error = refused(location, None);
        assert!(error.contains("must lie in the model's own folder"), "{location}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", folder.join("link.bin")).unwrap();
        assert!(refused("link.bin", None).contains("own folder"));
    }
    assert!(refused("weights.bin", Some("9")).contains("has only 12 bytes"));
    assert!(refused("weights.bin", Some("4")).contains("asks for 2 elements of 4 bytes"));
    assert!(refused("weights.bin", Some("-1")).contains("length \"-1\""));
    let missing = refused("missing.bin", None);
    assert!(missing.contains("missing.bin: cannot be read"), "{missing}");
}
