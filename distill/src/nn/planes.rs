//! Images laid out so that each kernel position of a convolution is a shift.
//!
//! With zeros around it and its rows `pitch` apart, a plane under stride 1 holds what a kernel position
//! reads for all outputs in one run of memory, `shift` elements on; so does, under stride `s`, one
//! of the `s²` planes of every `s`-th row and column. What lies between the rows of a run is
//! computed too and dropped. Rows share the zeros between them.

use std::ops::Range;

use super::window::Window;

/// Layout of a convolution's input, and of its output's gradient, for one kind of window.
pub(super) struct Planes {
    window: Window,
    /// Distance between rows, of both layouts.
    pitch: usize,
    /// Phases that some kernel position reads.
    phases: Vec<Phase>,
    /// Elements of one phase of an input.
    phase_len: usize,
    /// Zeros before the first row and column of a gradient.
    lead: [usize; 2],
    /// Elements of a gradient's plane.
    gradient_len: usize,
}

/// Every `stride`-th row and column of the padded input, beginning at `at`.
struct Phase {
    at: [usize; 2],
    /// Kernel positions that read it, and their shifts in rows and columns.
    taps: Vec<(usize, [usize; 2])>,
    /// Rows and columns that are not padding.
    inside: [Range<usize>; 2],
    /// Row and column of the input where those begin.
    from: [usize; 2],
}

/// What reads a gradient to give the gradient of one phase of the input.
pub(super) struct Backward<'a> {
    planes: &'a Planes,
    phase: &'a Phase,
}

impl Planes {
    pub(super) fn new(window: Window) -> Self {
        let mut phases: Vec<Phase> = Vec::new();
        for tap in 0..window.taps() {
            let position = [tap / window.kernel[1], tap % window.kernel[1]];
            let reach = [0, 1].map(|axis| position[axis] * window.dilation[axis]);
            let at = [0, 1].map(|axis| reach[axis] % window.stride[axis]);
            let shift = [0, 1].map(|axis| reach[axis] / window.stride[axis]);
            match phases.iter_mut().find(|phase| phase.at == at) {
                Some(phase) => phase.taps.push((tap, shift)),
                None => phases.push(Phase::new(&window, at, (tap, shift))),
            }
        }
        let last = |axis: usize| {
            let reach = (window.kernel[axis] - 1) * window.dilation[axis];
            reach / window.stride[axis]
        };
        let shift = [last(0), last(1)];
        let extent = [0, 1].map(|axis| window.output[axis] + shift[axis]);
        for phase in &mut phases {
            phase.cut(extent);
        }
        // Zeros at the end of a row may be those at the beginning of the next.
        let shared = |phase: &Phase| phase.inside[1].start.min(extent[1] - phase.inside[1].end);
        let shared = phases.iter().map(shared).min().unwrap_or(0);
        let first = |axis: usize| phases.iter().map(|p| p.inside[axis].start).min().unwrap_or(0);
        let end = |axis: usize| phases.iter().map(|p| p.inside[axis].end).max().unwrap_or(0);
        let lead = [0, 1].map(|axis| shift[axis].saturating_sub(first(axis)));
        let trail = [0, 1].map(|axis| end(axis).saturating_sub(window.output[axis]));
        let pitch = (extent[1] - shared).max(window.output[1] + lead[1].max(trail[1]));
        let phase_len = (extent[0] - 1) * pitch + extent[1];
        let gradient_rows = lead[0] + window.output[0] + trail[0];
        let gradient_len = gradient_rows * pitch + lead[1] + trail[1];
        Self { window, pitch, phases, phase_len, lead, gradient_len }
    }

    /// Elements from the first to the last output of a run.
    pub(super) fn run(&self) -> usize {
        (self.window.output[0] - 1) * self.pitch + self.window.output[1]
    }

    /// Elements of one channel of an input.
    pub(super) fn channel(&self) -> usize {
        self.phases.len() * self.phase_len
    }

    /// Elements of one channel of a gradient.
    pub(super) fn gradient_channel(&self) -> usize {
        self.gradient_len
    }

    /// Where each kernel position's run begins, channel by channel.
    pub(super) fn taps(&self, channels: usize) -> Vec<usize> {
        let mut of_channel = vec![0; self.window.taps()];
        for (i, phase) in self.phases.iter().enumerate() {
            for &(tap, [y, x]) in &phase.taps {
                of_channel[tap] = i * self.phase_len + y * self.pitch + x;
            }
        }
        let channel = self.channel();
        (0..channels).flat_map(|c| of_channel.iter().map(move |at| c * channel + at)).collect()
    }

    /// Where each channel's run begins in a gradient.
    pub(super) fn gradients(&self, channels: usize) -> Vec<usize> {
        let first = self.lead[0] * self.pitch + self.lead[1];
        (0..channels).map(|c| c * self.gradient_len + first).collect()
    }

    /// Lays planes of `x` out in `to`, whose zeros stay.
    pub(super) fn fill(&self, x: &[f32], to: &mut [f32]) {
        let [_, width] = self.window.input;
        let [step_y, step_x] = self.window.stride;
        let planes = x.chunks_exact(self.window.in_plane().max(1));
        for (x, to) in planes.zip(to.chunks_exact_mut(self.channel())) {
            for (phase, to) in self.phases.iter().zip(to.chunks_exact_mut(self.phase_len)) {
                let [rows, columns] = &phase.inside;
                for (i, row) in rows.clone().enumerate() {
                    let from = (phase.from[0] + i * step_y) * width + phase.from[1];
                    let to = &mut to[row * self.pitch..][columns.clone()];
                    copy_every(&x[from..], step_x, to);
                }
            }
        }
    }

    /// Lays planes of an output's gradient out in `to`, whose zeros stay.
    pub(super) fn fill_gradient(&self, dy: &[f32], to: &mut [f32]) {
        let planes = dy.chunks_exact(self.window.out_plane());
        for (dy, to) in planes.zip(to.chunks_exact_mut(self.gradient_len)) {
            let to = &mut to[self.lead[0] * self.pitch + self.lead[1]..];
            let rows = dy.chunks_exact(self.window.output[1]);
            for (dy, to) in rows.zip(to.chunks_mut(self.pitch)) {
                copy_every(dy, 1, &mut to[..dy.len()]);
            }
        }
    }

    /// Picks the outputs of runs that lie one after another.
    pub(super) fn pick(&self, runs: &[f32], y: &mut [f32]) {
        let width = self.window.output[1];
        let planes = y.chunks_exact_mut(self.window.out_plane());
        for (y, run) in planes.zip(runs.chunks_exact(self.run())) {
            for (y, run) in y.chunks_exact_mut(width).zip(run.chunks(self.pitch)) {
                copy_every(run, 1, y);
            }
        }
    }

    /// The phases of the input's gradient that are not zero.
    pub(super) fn backward(&self) -> impl Iterator<Item = Backward<'_>> {
        let phases = self.phases.iter().filter(|phase| phase.inside.iter().all(|r| !r.is_empty()));
        phases.map(|phase| Backward { planes: self, phase })
    }
}

impl Phase {
    fn new(window: &Window, at: [usize; 2], tap: (usize, [usize; 2])) -> Self {
        let mut inside = [0..0, 0..0];
        let mut from = [0; 2];
        for axis in 0..2 {
            let (stride, before) = (window.stride[axis], window.padding[axis]);
            let start = before.saturating_sub(at[axis]).div_ceil(stride);
            let end = (window.input[axis] + before).saturating_sub(at[axis]).div_ceil(stride);
            inside[axis] = start..end.max(start);
            from[axis] = (start * stride + at[axis]).saturating_sub(before);
        }
        Self { at, taps: vec![tap], inside, from }
    }

    /// Drops rows and columns behind the last one that is read.
    fn cut(&mut self, extent: [usize; 2]) {
        for (inside, extent) in self.inside.iter_mut().zip(extent) {
            *inside = inside.start.min(extent)..inside.end.min(extent);
        }
    }
}

impl Backward<'_> {
    /// The kernel positions that take part.
    pub(super) fn taps(&self) -> impl Iterator<Item = usize> {
        self.phase.taps.iter().map(|&(tap, _)| tap)
    }

    /// Where the runs begin in a gradient: channel by channel, the positions of [`taps`](Self::taps).
    pub(super) fn rows(&self, channels: usize) -> Vec<usize> {
        let Planes { pitch, lead, gradient_len, .. } = self.planes;
        let [rows, columns] = &self.phase.inside;
        let first = (rows.start + lead[0]) * pitch + columns.start + lead[1];
        let taps = |c| {
            self.phase.taps.iter().map(move |(_, [y, x])| c * gradient_len + first - y * pitch - x)
        };
        (0..channels).flat_map(taps).collect()
    }

    /// Elements of a run.
    pub(super) fn run(&self) -> usize {
        let [rows, columns] = &self.phase.inside;
        (rows.len() - 1) * self.planes.pitch + columns.len()
    }

    /// Puts runs, one a channel, to their places in `dx`.
    pub(super) fn place(&self, runs: &[f32], dx: &mut [f32]) {
        let Planes { window, pitch, .. } = self.planes;
        let [rows, columns] = &self.phase.inside;
        let planes = dx.chunks_exact_mut(window.in_plane());
        for (dx, run) in planes.zip(runs.chunks_exact(self.run())) {
            for (i, run) in run.chunks(*pitch).take(rows.len()).enumerate() {
                let row = self.phase.from[0] + i * window.stride[0];
                let dx = &mut dx[row * window.input[1] + self.phase.from[1]..];
                let run = &run[..columns.len()];
                if window.stride[1] == 1 {
                    copy_every(run, 1, &mut dx[..run.len()]);
                } else {
                    dx.iter_mut().step_by(window.stride[1]).zip(run).for_each(|(dx, v)| *dx = *v);
                }
            }
        }
    }
}

/// `to = from[0], from[step], …`: rows are short, so this is a loop and not a call.
#[inline]
fn copy_every(from: &[f32], step: usize, to: &mut [f32]) {
    if step == 1 {
        let from = &from[..to.len()];
        let (to_wide, to_rest) = to.as_chunks_mut::<8>();
        let (wide, rest) = from.as_chunks::<8>();
        to_wide.iter_mut().zip(wide).for_each(|(to, from)| *to = *from);
        to_rest.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    } else {
        to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from);
    }
}
