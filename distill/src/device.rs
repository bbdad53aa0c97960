//! Where training runs: the CPU, or a GPU that this build supports.

pub use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};

use crate::{Error, ErrorKind, Result};

/// The device that `text` names: `cpu`, `cuda`, `cuda:N`, `metal` or `auto`.
///
/// `auto` takes a GPU where this build supports one and the machine has it, else the CPU.
pub fn choose(text: &str) -> Result<Device> {
    let fail =
        |message: String| Err(Error::new(ErrorKind::Device, format!("device {text:?}"), message));
    let (kind, number) = match text.split_once(':') {
        Some((kind, number)) => match number.parse::<usize>() {
            Ok(number) if kind == "cuda" => (kind, number),
            _ => return fail("use cpu, cuda, cuda:N, metal or auto".into()),
        },
        None => (text, 0),
    };
    let open = |made: candle_core::Result<Device>, feature: &str| {
        made.or_else(|error| {
            let message = format!(
                "cannot be used ({error}); build with `--features {feature}` on a machine that has \
                 one, or take --device cpu"
            );
            fail(message.replace('\n', " "))
        })
    };
    match kind {
        "cuda" => open(Device::new_cuda(number), "cuda"),
        "metal" => open(Device::new_metal(0), "metal"),
        "auto" if cuda_is_available() => open(Device::new_cuda(0), "cuda"),
        "auto" if metal_is_available() => open(Device::new_metal(0), "metal"),
        "cpu" | "auto" => Ok(Device::Cpu),
        _ => fail("use cpu, cuda, cuda:N, metal or auto".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_devices_are_refused_with_the_valid_ones() {
        for text in ["gpu", "cuda:x", "cpu:1", "cuda:-1", ""] {
            let error = choose(text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("cuda:N") && error.contains(text), "{text}: {error}");
        }
        assert!(choose("cpu").is_ok_and(|d| d.is_cpu()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_that_the_build_lacks_names_the_feature() {
        let error = choose("cuda:1").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
