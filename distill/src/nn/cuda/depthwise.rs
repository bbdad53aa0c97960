//! Depthwise convolution: one kernel a channel, read directly.

use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::super::window::Window;
use super::launch::{Geometry, Grid, Kernel, chunks};

/// `x [n, c, h, w]` by `w [c, 1, kh, kw]`.
pub(in super::super) fn depthwise(x: &Tensor, w: &Tensor, window: Window) -> Result<Tensor> {
    let (n, c, ..) = x.dims4()?;
    x.contiguous()?.apply_op2(&w.contiguous()?, Depthwise { window, n, c })
}

struct Depthwise {
    window: Window,
    n: usize,
    c: usize,
}

impl Depthwise {
    fn geometry(&self) -> Geometry {
        Geometry::new(self.n, self.c, &self.window)
    }
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("this depthwise convolution runs on CUDA only")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        w: &CudaStorage,
        w_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let [out_h, out_w] = self.window.output;
        let kernel = Kernel::new("depthwise", self.geometry(), (self.n, self.c, out_h, out_w));
        Ok((kernel.launch(&[(x, x_layout), (w, w_layout)])?, kernel.out))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let rows = self.c * self.window.taps();
        let (count, samples) = chunks(self.n, rows);
        let weight = Kernel {
            name: "depthwise_weight",
            grid: Grid::Blocks(rows, count),
            geometry: Geometry { chunk: samples as u32, ..self.geometry() },
            out: (count, rows).into(),
            wide: false,
        };
        let dw = weight.run(&[x, dy])?.sum(0)?.reshape(w.shape())?;
        let input = Kernel::new("depthwise_input", self.geometry(), x.shape().clone());
        let dx = if x.track_op() { Some(input.run(&[dy, w])?) } else { None };
        Ok((dx, Some(dw)))
    }
}
