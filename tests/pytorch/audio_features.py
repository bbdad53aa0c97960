"""Prints the features that the runtime's tests compare with, as librosa and scipy compute them.

The clip is the tests' own (`chirp` in runtime/src/input/audio/tests.rs). Needs numpy, scipy, librosa:

    python3 tests/pytorch/audio_features.py
"""

import librosa
import numpy as np
import scipy.fft


def chirp(n):
    """A sweep of triangle waves and some hum, in whole numbers."""
    i = np.arange(n, dtype=np.int64)
    phase = (i * 700 + i * i // 3) % 65536
    triangle = np.where(phase < 32768, phase, 65535 - phase) - 16384
    hum = (i * 97) % 2048 - 1024
    return (triangle + hum).astype(np.int16)


def log_mel(clip, rate, frame, hop, fft, bands, low, high, floor):
    x = clip.astype(np.float64) / 32768
    window = scipy.signal.get_window("hann", frame, fftbins=True)
    frames = 1 + (len(x) - frame) // hop
    cut = np.stack([x[t * hop : t * hop + frame] * window for t in range(frames)])
    power = np.abs(np.fft.rfft(cut, fft)) ** 2
    if frame == fft:
        theirs = np.abs(
            librosa.stft(x, n_fft=fft, hop_length=hop, window="hann", center=False)
        ).T ** 2
        assert np.allclose(power, theirs), "numpy's and librosa's spectra differ"
    mel = librosa.filters.mel(
        sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high, htk=True, norm=None, dtype=np.float64
    )
    return np.log(np.maximum(power @ mel.T, floor))


def show(name, rows):
    print(f"{name}: shape {rows.shape}")
    for t in (0, rows.shape[0] // 2, rows.shape[0] - 1):
        print("   ", t, ", ".join(f"{v:.5f}" for v in rows[t]))


if __name__ == "__main__":
    import scipy.signal

    clip = chirp(4000)
    show("log-mel", log_mel(clip, 8000, 256, 128, 256, 10, 20.0, 4000.0, 1e-6))
    # A frame of another length than the transform, and cepstral coefficients.
    logs = log_mel(clip, 8000, 200, 80, 256, 20, 60.0, 3800.0, 1e-6)
    show("mfcc", scipy.fft.dct(logs, type=2, norm="ortho", axis=1)[:, :8])
