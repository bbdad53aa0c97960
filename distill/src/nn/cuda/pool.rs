//! Maximum and average pooling.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::super::window::Window;
use super::launch::{Geometry, Kernel};

/// The maximum of each window of `x [n, c, h, w]`.
pub(in super::super) fn max_pool2d(x: &Tensor, window: Window) -> Result<Tensor> {
    pool(x, window, Kind::Max)
}

/// The mean of each window of `x [n, c, h, w]`.
pub(in super::super) fn avg_pool2d(x: &Tensor, window: Window, count: bool) -> Result<Tensor> {
    pool(x, window, Kind::Average { count })
}

fn pool(x: &Tensor, window: Window, kind: Kind) -> Result<Tensor> {
    let (n, c, ..) = x.dims4()?;
    x.contiguous()?.apply_op1(Pool { window, n, c, kind })
}

#[derive(Clone, Copy)]
enum Kind {
    Max,
    Average { count: bool },
}

struct Pool {
    window: Window,
    n: usize,
    c: usize,
    kind: Kind,
}

impl Pool {
    fn geometry(&self) -> Geometry {
        let flag = matches!(self.kind, Kind::Average { count: true });
        Geometry { flag: u32::from(flag), ..Geometry::new(self.n, self.c, &self.window) }
    }
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pooling"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("this pooling runs on CUDA only")
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let [out_h, out_w] = self.window.output;
        let name = match self.kind {
            Kind::Max => "max_pool",
            Kind::Average { .. } => "avg_pool",
        };
        let kernel = Kernel::new(name, self.geometry(), (self.n, self.c, out_h, out_w));
        Ok((kernel.launch(&[(x, layout)])?, kernel.out))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let shape = x.shape().clone();
        let dx = match self.kind {
            Kind::Max => Kernel::new("max_pool_grad", self.geometry(), shape).run(&[x, dy])?,
            Kind::Average { .. } => {
                Kernel::new("avg_pool_grad", self.geometry(), shape).run(&[dy])?
            }
        };
        Ok(Some(dx))
    }
}
