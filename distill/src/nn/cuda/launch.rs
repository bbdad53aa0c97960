//! The one door to a kernel: compiles the module once, checks operands, launches.
#![expect(unsafe_code, reason = "a kernel launch takes raw pointers; operands are checked here")]

use std::sync::OnceLock;

use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::super::window::Window;

/// The size of a block, `BLOCK` in `kernels.cu`.
const BLOCK: u32 = 256;

/// Least number of blocks that sums are spread over: a few for each multiprocessor.
const BLOCKS_WANTED: usize = 512;

/// `Geometry` in `kernels.cu`, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Geometry {
    pub(super) n: u32,
    pub(super) c: u32,
    pub(super) input: [u32; 2],
    pub(super) output: [u32; 2],
    pub(super) kernel: [u32; 2],
    pub(super) stride: [u32; 2],
    pub(super) before: [u32; 2],
    pub(super) dilation: [u32; 2],
    pub(super) chunk: u32,
    pub(super) flag: u32,
    pub(super) epsilon: f32,
}

// SAFETY: a `repr(C)` struct of plain 32-bit numbers without padding, passed to a kernel by value.
unsafe impl DeviceRepr for Geometry {}

impl Geometry {
    /// `n` samples of `c` planes under `window`.
    pub(super) fn new(n: usize, c: usize, window: &Window) -> Self {
        let pair = |sizes: [usize; 2]| sizes.map(|size| size as u32);
        Self {
            n: n as u32,
            c: c as u32,
            input: pair(window.input),
            output: pair(window.output),
            kernel: pair(window.kernel),
            stride: pair(window.stride),
            before: pair([window.padding[0], window.padding[1]]),
            dilation: pair(window.dilation),
            ..Self::default()
        }
    }

    /// `n` samples of `c` planes of `plane` values, without a window.
    pub(super) fn planes(n: usize, c: usize, plane: usize) -> Self {
        Self { n: n as u32, c: c as u32, input: [1, plane as u32], ..Self::default() }
    }
}

/// How the work is divided.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grid {
    /// A thread for each of so many output values.
    Values(usize),
    /// `rows × chunks` blocks, each of which sums.
    Blocks(usize, usize),
}

/// Into how many chunks of how many samples a sum over `n` samples is split for each of `rows`.
pub(super) fn chunks(n: usize, rows: usize) -> (usize, usize) {
    let samples = (n * rows).div_ceil(BLOCKS_WANTED).clamp(1, n.max(1));
    (n.div_ceil(samples), samples)
}

/// A kernel with all but its inputs.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    pub(super) grid: Grid,
    pub(super) geometry: Geometry,
    pub(super) out: Shape,
    /// Whether it writes f64, for sums that others go on with.
    pub(super) wide: bool,
}

impl Kernel {
    /// A thread for each value of `out`, in f32.
    pub(super) fn new(name: &'static str, geometry: Geometry, out: impl Into<Shape>) -> Self {
        let out = out.into();
        Self { name, grid: Grid::Values(out.elem_count()), geometry, out, wide: false }
    }

    /// Launches on inputs that are contiguous; they and the output are in the kernel's order.
    pub(super) fn launch(&self, inputs: &[(&CudaStorage, &Layout)]) -> Result<CudaStorage> {
        let Some((first, _)) = inputs.first() else { bail!("{} has no inputs", self.name) };
        let device = first.device.clone();
        let function = device.get_or_load_custom_func(self.name, "hipflask", ptx()?)?;
        let mut builder = function.builder();
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        let sizes = inputs.iter().map(|(_, layout)| layout.shape()).chain([&self.out]);
        for shape in sizes {
            if u32::try_from(shape.elem_count()).is_err() {
                bail!(
                    "{} got a tensor {shape:?}, of 2^32 values or more: use a smaller batch",
                    self.name
                );
            }
        }
        for (storage, layout) in inputs {
            let Some((start, end)) = layout.contiguous_offsets() else {
                bail!("{} got a non-contiguous tensor {:?}", self.name, layout.shape())
            };
            match &storage.slice {
                CudaStorageSlice::F32(slice) => narrow.push(slice.slice(start..end)),
                CudaStorageSlice::F64(slice) => wide.push(slice.slice(start..end)),
                _ => bail!("{} takes f32", self.name),
            }
        }
        // Kernels that read sums in f64 read nothing else.
        for view in &wide {
            builder.arg(view);
        }
        for view in &narrow {
            builder.arg(view);
        }
        let len = self.out.elem_count();
        let grid_dim = match self.grid {
            Grid::Values(values) => (values.div_ceil(BLOCK as usize) as u32, 1, 1),
            Grid::Blocks(rows, chunks) => (rows as u32, chunks as u32, 1),
        };
        let config = LaunchConfig { grid_dim, block_dim: (BLOCK, 1, 1), shared_mem_bytes: 0 };
        let empty = len == 0 || grid_dim.0 == 0 || grid_dim.1 == 0;
        if self.wide {
            let mut out = device.alloc_zeros::<f64>(len)?;
            builder.arg(&mut out);
            builder.arg(&self.geometry);
            if !empty {
                // SAFETY: the callers in this module give a kernel of `kernels.cu` its parameters
                // in order, with the sizes that `geometry` says; each is on this device's stream.
                unsafe { builder.launch(config) }.w()?;
            }
            return Ok(CudaStorage::wrap_cuda_slice(out, device));
        }
        // SAFETY: every kernel writes all of its output.
        let mut out = unsafe { device.alloc::<f32>(len) }?;
        builder.arg(&mut out);
        builder.arg(&self.geometry);
        if !empty {
            // SAFETY: as above.
            unsafe { builder.launch(config) }.w()?;
        }
        Ok(CudaStorage::wrap_cuda_slice(out, device))
    }

    /// Launches on tensors, without a gradient.
    pub(super) fn run(self, inputs: &[&Tensor]) -> Result<Tensor> {
        let Some((first, rest)) = inputs.split_first() else {
            bail!("{} has no inputs", self.name)
        };
        let rest = rest.iter().map(|t| t.contiguous()).collect::<Result<_>>()?;
        first.contiguous()?.apply_op1_no_bwd(&Launch { kernel: self, rest })
    }
}

/// A launch as candle's operator over its first input.
struct Launch {
    kernel: Kernel,
    rest: Vec<Tensor>,
}

impl CustomOp1 for Launch {
    fn name(&self) -> &'static str {
        self.kernel.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{} runs on CUDA only", self.kernel.name)
    }

    fn cuda_fwd(&self, first: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let rest: Vec<_> = self.rest.iter().map(Tensor::storage_and_layout).collect();
        let mut inputs = vec![(first, layout)];
        for (storage, layout) in &rest {
            match &**storage {
                Storage::Cuda(storage) => inputs.push((storage, layout)),
                _ => bail!("{} got a tensor that is not on the GPU", self.kernel.name),
            }
        }
        Ok((self.kernel.launch(&inputs)?, self.kernel.out.clone()))
    }
}

/// The compiled kernels.
fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compiled = PTX.get_or_init(|| {
        let ptx = compile_ptx(include_str!("kernels.cu")).map_err(|e| format!("{e:?}"))?;
        Ok(ptx.to_src())
    });
    match compiled {
        Ok(ptx) => Ok(ptx),
        Err(message) => bail!("NVRTC cannot compile the training kernels: {message}"),
    }
}
