//! Convolution of one group: im2col and a product over the whole batch at once.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use super::super::Precision;
use super::super::window::Window;
use super::launch::{Geometry, Kernel};

/// `x [n, c_in, h, w]` by `w [c_out, c_in, kh, kw]`, without bias, its products in `precision`.
pub(in super::super) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    window: Window,
    precision: Precision,
) -> Result<Tensor> {
    let (n, c_in, ..) = x.dims4()?;
    let op = Conv2d { window, n, c_in, c_out: w.dim(0)?, precision };
    x.contiguous()?.apply_op2(&w.contiguous()?, op)
}

struct Conv2d {
    window: Window,
    n: usize,
    c_in: usize,
    c_out: usize,
    precision: Precision,
}

impl Conv2d {
    fn depth(&self) -> usize {
        self.c_in * self.window.taps()
    }

    fn width(&self) -> usize {
        self.n * self.window.out_plane()
    }

    /// `x` to the matrix `[depth, n · out_plane]`.
    fn lower(&self) -> Kernel {
        let shape = (self.depth(), self.width());
        if self.window.is_pointwise() {
            return swap(self.n, self.c_in, self.window.in_plane(), shape);
        }
        Kernel::new("im2col", Geometry::new(self.n, self.c_in, &self.window), shape)
    }

    fn gradients(&self, x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Tensor)> {
        let plane = self.window.out_plane();
        let dtype = self.precision.dtype();
        let dy = swap(self.n, self.c_out, plane, (self.c_out, self.width())).run(&[dy])?;
        let dy = dy.to_dtype(dtype)?;
        let columns = self.lower().run(&[x])?.to_dtype(dtype)?;
        let dw = dy.matmul(&columns.t()?)?.to_dtype(DType::F32)?.reshape(w.shape())?;
        drop(columns);
        if !x.track_op() {
            return Ok((None, dw));
        }
        let w = w.detach().to_dtype(dtype)?.reshape((self.c_out, self.depth()))?;
        let d_columns = w.t()?.matmul(&dy)?.to_dtype(DType::F32)?;
        let raise = if self.window.is_pointwise() {
            swap(self.c_in, self.n, self.window.in_plane(), x.shape().clone())
        } else {
            let geometry = Geometry::new(self.n, self.c_in, &self.window);
            Kernel::new("col2im", geometry, x.shape().clone())
        };
        Ok((Some(raise.run(&[&d_columns])?), dw))
    }
}

/// `[a, b, plane]` to `[b, a, plane]`.
fn swap(a: usize, b: usize, plane: usize, out: impl Into<Shape>) -> Kernel {
    Kernel::new("swap", Geometry::planes(a, b, plane), out)
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("this convolution runs on CUDA only")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        w: &CudaStorage,
        w_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (depth, width) = (self.depth(), self.width());
        let columns = self.lower().launch(&[(x, x_layout)])?;
        let rows = Shape::from((self.c_out, depth));
        let w_layout = Layout::contiguous_with_offset(rows, w_layout.start_offset());
        let columns_layout = Layout::contiguous((depth, width));
        let mnk = (1, self.c_out, width, depth);
        let y = if self.precision == Precision::F32 {
            w.matmul(&columns, mnk, &w_layout, &columns_layout)?
        } else {
            let dtype = self.precision.dtype();
            let rows = Layout::contiguous((self.c_out, depth));
            let w = w.to_dtype(&w_layout, dtype)?;
            let columns = columns.to_dtype(&columns_layout, dtype)?;
            let y = w.matmul(&columns, mnk, &rows, &columns_layout)?;
            y.to_dtype(&Layout::contiguous((self.c_out, width)), DType::F32)?
        };
        let [out_h, out_w] = self.window.output;
        let shape = Shape::from((self.n, self.c_out, out_h, out_w));
        let back = swap(self.c_out, self.n, out_h * out_w, shape.clone());
        let y = back.launch(&[(&y, &Layout::contiguous((self.c_out, width)))])?;
        Ok((y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(x, w, dy)?;
        Ok((dx, Some(dw)))
    }
}
