"""The change that each corruption makes, against numbers worked out from the benchmark's definition."""

import io
import math
import sys
import time

import matplotlib.colors
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, signal, stats

import tbft.data.corruptions as corruptions
from tbft import progress
from tbft.data.corruptions import BENCHMARK, CORRUPTIONS, corrupt
from tbft.data.corruptions.edges import canny
from tbft.data.corruptions.fog import plasma
from tbft.data.corruptions.spatter import chamfer_distance
from tbft.data.corruptions.streams import Streams
from tbft.errors import BadInput

pytestmark = pytest.mark.numbers

SEVERITIES = (1, 2, 3, 4, 5)
RANDOM = {
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur"),
    *("snow", "frost", "fog", "elastic_transform", "spatter"),
}


def by_severity(**tables):
    """Parametrize with a severity and its constants, which are retyped here from the authors' scripts."""
    return pytest.mark.parametrize(("severity", *tables), list(zip(SEVERITIES, *tables.values(), strict=True)))


def flat(level, n=32, side=32, channels=3):
    return torch.full((n, channels, side, side), level, dtype=torch.uint8)


def pictures(n=4, height=32, width=32, channels=3, seed=0):
    """Smooth shapes with some texture, the colours spread over all bytes."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((n, channels, height, width)), (0, 0, 3, 3))
    noise = noise / noise.std() * 45 + rng.normal(0, 8, noise.shape) + 125
    return torch.from_numpy(noise.clip(0, 255).astype(np.uint8))


def white_noise(n=16, side=48):
    return torch.from_numpy(np.random.default_rng(3).integers(60, 196, (n, 3, side, side), dtype=np.uint8))


def change(images, name, severity, **options):
    return corrupt(images, name, severity, **options).double().numpy() - images.double().numpy()


def spectrum(x):
    """Mean power of each spatial frequency, the mean of each channel removed."""
    x = x - x.mean(axis=(-2, -1), keepdims=True)
    return (abs(np.fft.fft2(x)) ** 2).mean(axis=(0, 1))


def frequencies(side):
    return np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])


# Noise


@by_severity(deviation=(0.04, 0.06, 0.08, 0.09, 0.10))
def test_gaussian_noise_is_white_and_as_strong_as_defined(severity, deviation):
    noise = change(flat(128), "gaussian_noise", severity)
    assert noise.mean() == pytest.approx(-0.5, abs=0.35)  # decimals are cut off
    assert noise.std() == pytest.approx(255 * deviation, rel=0.01)
    assert_white(noise)
    channels = noise.transpose(1, 0, 2, 3).reshape(3, -1)
    assert abs(np.corrcoef(channels) - np.eye(3)).max() < 0.03


def assert_white(noise):
    power, frequency = spectrum(noise), frequencies(noise.shape[-1])
    total = power.sum() / (power.size - 1)
    for low, high in ((0.01, 0.2), (0.2, 0.4), (0.4, 0.8)):
        assert power[(frequency > low) & (frequency <= high)].mean() == pytest.approx(total, rel=0.04)


@by_severity(photons=(500, 250, 100, 75, 50))
@pytest.mark.parametrize("level", [51, 128])
def test_the_variance_of_shot_noise_is_the_mean_over_the_photons(severity, photons, level):
    noise = change(flat(level), "shot_noise", severity)
    counts = np.arange(10 * photons)
    chance = stats.poisson.pmf(counts, level / 255 * photons)
    steps = np.floor(np.minimum(counts / photons, 1) * 255)  # a photon is under a byte at low severities
    mean = (chance * steps).sum()
    assert noise.mean() == pytest.approx(mean - level, abs=0.2)
    assert noise.var() == pytest.approx((chance * (steps - mean) ** 2).sum(), rel=0.02)
    assert noise.var() == pytest.approx(255**2 * (level / 255) / photons, rel=0.09)
    assert_white(noise)


@by_severity(amount=(0.01, 0.02, 0.03, 0.05, 0.07))
def test_impulse_noise_turns_the_defined_share_into_salt_and_pepper(severity, amount):
    noisy = corrupt(flat(128, n=64), "impulse_noise", severity).numpy()
    assert (noisy == 255).mean() == pytest.approx(amount / 2, rel=0.06)
    assert (noisy == 0).mean() == pytest.approx(amount / 2, rel=0.06)
    assert set(np.unique(noisy)) == {0, 128, 255}
    hits = noisy != 128
    # Channels are hit one by one: two at once as rarely as chance has it.
    assert (hits[:, 0] & hits[:, 1]).mean() == pytest.approx(amount**2, abs=3e-4 + amount**2 / 5)
    assert_white(noisy - 128.0)


@by_severity(deviation=(0.06, 0.1, 0.12, 0.16, 0.2))
@pytest.mark.parametrize("level", [40, 120])
def test_speckle_noise_grows_with_the_brightness(severity, deviation, level):
    noise = change(flat(level), "speckle_noise", severity)
    assert noise.mean() == pytest.approx(-0.5, abs=0.35)
    assert noise.var() == pytest.approx((deviation * level) ** 2 + 1 / 12, rel=0.03)
    assert_white(noise)


# Blur


def assert_filters_with(kernel, images, name, severity, scale="auto"):
    """The corruption is this kernel: pixel by pixel inside, by its variance, and by its transfer function."""
    clean = images.double().numpy()
    blurred = corrupt(images, name, severity, scale=scale).double().numpy()
    reach = max(kernel.shape) // 2
    inside = (..., slice(reach, -reach or None), slice(reach, -reach or None))
    expected = signal.fftconvolve(clean, kernel[None, None], mode="same", axes=(2, 3))
    assert abs(blurred - expected)[inside].max() <= 1.01
    assert blurred[inside].var() == pytest.approx((kernel**2).sum() * clean[inside].var(), rel=0.05)

    window = np.outer(*[signal.windows.hann(clean.shape[-1])] * 2)
    measured = spectrum((blurred - blurred.mean()) * window) / spectrum((clean - clean.mean()) * window)
    transfer = abs(np.fft.fft2(kernel, clean.shape[-2:])) ** 2
    frequency = frequencies(clean.shape[-1])
    for low, high in ((0.05, 0.15), (0.15, 0.25), (0.25, 0.35)):
        ring = (frequency > low) & (frequency <= high)
        assert measured[ring].mean() == pytest.approx(transfer[ring].mean(), rel=0.1, abs=1e-3)


@by_severity(sigma=(0.4, 0.6, 0.7, 0.8, 1.0))
def test_gaussian_blur_has_the_transfer_function_of_its_gaussian(severity, sigma):
    offsets = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    assert_filters_with(kernel / kernel.sum(), white_noise(), "gaussian_blur", severity)


def softened_disk(radius, softness, soft=1, reach=8):
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    circle = (x**2 + y**2 <= radius**2) / np.count_nonzero(x**2 + y**2 <= radius**2)
    y, x = np.mgrid[-soft : soft + 1, -soft : soft + 1]
    bell = np.exp(-(x**2 + y**2) / (2 * softness**2))
    return ndimage.convolve(circle, bell / bell.sum(), mode="mirror")


@by_severity(lens=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)))
def test_defocus_blur_has_the_transfer_function_of_its_disk(severity, lens):
    disk = softened_disk(*lens)[4:-4, 4:-4]
    assert_filters_with(disk, white_noise(), "defocus_blur", severity)


@by_severity(lens=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)))
def test_defocus_blur_of_large_images_has_a_larger_disk(severity, lens):
    disk = softened_disk(*lens) if lens[0] <= 8 else softened_disk(*lens, soft=2, reach=lens[0])
    images = white_noise(n=2, side=96)
    blurred = corrupt(images, "defocus_blur", severity).double().numpy()
    expected = signal.fftconvolve(images.double().numpy(), disk[None, None], mode="valid", axes=(2, 3))
    reach = disk.shape[0] // 2
    assert abs(blurred[..., reach:-reach, reach:-reach] - expected).max() <= 1.01


@by_severity(passes=(1, 1, 1, 2, 2), sigma=(0.05, 0.25, 0.4, 0.25, 0.4))
def test_glass_blur_takes_pixels_from_at_most_one_step_above_and_left_a_pass(severity, passes, sigma):
    step = 7
    rows, columns = np.mgrid[:32, :32] * step
    place = torch.from_numpy(np.stack([rows, columns, rows])[None].repeat(64, 0).astype(np.uint8))
    came = -change(place, "glass_blur", severity)[..., 6:-6, 6:-6] / step
    assert came.min() > -0.1 - (sigma > 0.05) and came.max() < passes + 0.3
    assert came.mean() == pytest.approx(passes / 2, abs=0.15)
    assert np.array_equal(came[:, 0], came[:, 2])  # whole pixels move, all channels together
    if sigma < 0.3:
        whole = came.round()  # where nothing to speak of is blurred
        assert sorted(np.unique(whole)) == list(range(passes + 1))
        if passes == 1:
            assert whole[:, :2].var() == pytest.approx(1 / 4, rel=0.01)
    elif passes == 1:
        bell = np.exp(-(np.arange(-2, 3) ** 2) / (2 * sigma**2))
        kept = ((bell / bell.sum()) ** 2).sum() ** 2  # of the variance, by the second blur
        assert came[:, :2].var() == pytest.approx(kept / 4, rel=0.1)


@by_severity(radius=(6, 6, 6, 8, 9), sigma=(1, 1.5, 2, 2, 2.5))
def test_motion_blur_smears_along_a_line_within_45_degrees(severity, radius, sigma):
    images = flat(0, n=128, side=65, channels=1)
    images[..., 32, 32] = 255
    smear = corrupt(images, "motion_blur", severity)[:, 0].double().numpy()
    weight = smear / smear.sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[-32:33, -32:33]
    # A pixel looks onwards, so that a point of light trails behind, to the left.
    down, left = (weight * -y).sum(axis=(1, 2)), (weight * -x).sum(axis=(1, 2))
    angles = np.degrees(np.arctan2(down, left))
    assert abs(angles).max() < 50 and angles.min() < -35 and angles.max() > 35
    assert angles.std() == pytest.approx(90 / math.sqrt(12), rel=0.15)

    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    assert np.hypot(down, left).mean() == pytest.approx((taps * np.arange(taps.size)).sum(), abs=0.2)
    assert (smear**2).sum(axis=(1, 2)).mean() == pytest.approx(255**2 * (taps**2).sum(), rel=0.06)
    across = (-x * down[:, None, None] + y * left[:, None, None]) / np.hypot(down, left)[:, None, None]
    assert (weight * across**2).sum(axis=(1, 2)).max() < 0.3


@by_severity(ends=(1.06, 1.11, 1.16, 1.21, 1.26))
def test_zoom_blur_averages_enlargements_of_the_centre(severity, ends):
    images = pictures(n=2)
    out = corrupt(images, "zoom_blur", severity).numpy().astype(int)
    for clean, blurred in zip(images.numpy(), out, strict=True):
        views = [clean.astype(float)]
        for factor in np.arange(1, ends, 0.01):
            crop = math.ceil(32 / factor)
            first = (32 - crop) // 2
            piece = clean[:, first : first + crop, first : first + crop].astype(float)
            large = ndimage.zoom(piece, (1, factor, factor), order=1)
            trim = (large.shape[1] - 32) // 2
            views.append(large[:, trim : trim + 32, trim : trim + 32])
        assert abs(blurred - np.mean(views, axis=0)).max() <= 1.01


# Weather


@by_severity(amount=(0.2, 0.5, 0.75, 1, 1.5), decay=(3, 3, 2.5, 2, 1.75))
def test_fog_adds_a_cloud_and_keeps_the_brightest_value(severity, amount, decay):
    level = 160 / 255
    foggy = corrupt(flat(160), "fog", severity).double().numpy() / 255
    cloud = (foggy * (level + amount) / level - level) / amount
    reading = 1.01 / 255 * (level + amount) / (level * amount)  # of one byte
    assert cloud.min(axis=(1, 2, 3)) == pytest.approx(0, abs=reading)
    assert cloud.max(axis=(1, 2, 3)) == pytest.approx(1, abs=reading)
    assert cloud.mean() == pytest.approx(0.5, abs=0.06)
    assert np.array_equal(foggy[:, 0], foggy[:, 2])
    drawn = plasma(32, decay, Streams(0, "fog", severity, range(len(cloud))))
    assert abs(cloud[:, 0] - drawn).max() < reading


@by_severity(decay=(3, 3, 2.5, 2, 1.75))
def test_detail_of_the_cloud_fades_as_defined(severity, decay):
    cloud = plasma(32, decay, Streams(0, "fog", severity, range(200)))
    wobbles = []
    for step in (16, 8, 4, 2):
        corners, half = cloud[:, ::step, ::step], step // 2
        beside = corners + np.roll(corners, -1, axis=2)
        centers = cloud[:, half::step, half::step]
        wobbles.append((centers - (beside + np.roll(beside, -1, axis=1)) / 4).std())
    # The authors multiply the wobble's range by itself: each halving of the grid divides it by decay twice.
    assert np.divide(wobbles[:-1], wobbles[1:]) == pytest.approx(decay**2, rel=0.07)


def test_fog_lowers_the_contrast_by_the_law_of_its_definition():
    images = pictures(n=1).repeat(200, 1, 1, 1)
    foggy = corrupt(images, "fog", 5).double().numpy().mean(axis=0)
    clean = images[0].double().numpy()
    brightest = clean.max() / 255
    slope = np.polyfit(clean.ravel(), foggy.ravel(), 1)[0]
    assert slope == pytest.approx(brightest / (brightest + 1.5), rel=0.1)


@by_severity(kept=(1, 1, 0.9, 0.85, 0.75), iced=(0.2, 0.3, 0.4, 0.4, 0.45))
def test_frost_mixes_image_and_ice_by_the_defined_shares(severity, kept, iced):
    ice = corrupt(flat(0), "frost", severity).double().numpy()
    assert ice.max() <= 255 * iced and ice.max() > 200 * iced
    assert ice.std() > 30 * iced
    assert len({image.tobytes() for image in ice}) == len(ice)
    frozen = corrupt(flat(80), "frost", severity).double().numpy()
    assert (frozen - ice).mean() == pytest.approx(80 * kept, abs=0.5)
    assert (frozen - ice).std() < 0.6


@by_severity(
    fall=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )
)
def test_snow_bleaches_and_falls_as_thickly_as_defined(severity, fall):
    mean, deviation, magnification, least, radius, sigma, kept = fall
    snowy = corrupt(flat(0, n=128), "snow", severity)[:, 0].double().numpy()
    bleach = 255 * 0.5 * (1 - kept)
    assert snowy.min() == int(bleach)

    size = math.ceil(32 / magnification)
    noise = np.random.default_rng(1).normal(mean, deviation, (1000, size, size))
    flakes = ndimage.zoom(noise, (1, magnification, magnification), order=1)
    trim = (flakes.shape[1] - 32) // 2
    flakes = flakes[:, trim : trim + 32, trim : trim + 32]
    flakes = np.floor(255 * np.where(flakes < least, 0, flakes.clip(0, 1)))
    taps = np.exp(-(np.arange(-2 * radius, 2 * radius + 1) ** 2) / (2 * sigma**2))
    taps[2 * radius + 1 :] = 0  # a pixel looks upwards only, and sees the upper edge repeated
    drawn = np.floor(ndimage.correlate1d(flakes, taps / taps.sum(), axis=1, mode="nearest"))
    assert snowy.mean() - int(bleach) == pytest.approx(2 * drawn.mean(), rel=0.1, abs=0.5)
    # Flakes are drawn out along their fall, within 45 degrees of the vertical.
    assert abs(np.diff(snowy, axis=2)).mean() > 1.3 * abs(np.diff(snowy, axis=1)).mean()


@by_severity(
    liquid=(
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )
)
def test_spatter_covers_the_defined_share_in_the_defined_colour(severity, liquid):
    mean, deviation, smoothing, level, finish = liquid
    reach = int(4 * smoothing + 0.5)
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * smoothing**2))
    spread = deviation * ((bell / bell.sum()) ** 2).sum()  # of the smoothed noise
    share = stats.norm.sf(level, mean, spread)
    if severity <= 3:
        wet = corrupt(flat(0, n=200), "spatter", severity).double().numpy()
        lit = wet[:, 1] > 20
        assert 0.3 * share < lit.mean() < 1.1 * share
        assert wet[:, 1].max() == pytest.approx(238 * finish, abs=1)
        assert (wet[:, 0][lit] / wet[:, 1][lit]).mean() == pytest.approx(175 / 238, abs=0.02)
    else:
        # On white, mud hides up to all of a pixel, nothing under four fifths of it.
        muddy = corrupt(flat(255, n=200), "spatter", severity).double().numpy()
        noise = np.random.default_rng(1).normal(mean, deviation, (300, 32, 32))
        drops = ndimage.gaussian_filter(noise, (0, smoothing, smoothing)) > level
        assert drops.mean() == pytest.approx(share, rel=0.1)
        cover = ndimage.gaussian_filter(drops.astype(float), (0, finish, finish), mode="nearest")
        assert (muddy[:, 0] < 255).mean() == pytest.approx((cover >= 0.8).mean(), rel=0.1)
        for channel, brown in enumerate((63, 42, 20)):
            hidden = (255 - muddy[:, channel]) / (255 - brown)
            assert hidden[hidden > 0].min() > 0.79 and hidden.max() < 1.01


def test_edges_are_thin_closed_and_continue_only_strong_ones():
    layers = np.zeros((3, 20, 20), np.uint8)
    layers[0, 5:15, 5:15] = 200
    layers[1, 5:15, 5:15] = 24  # its gradient, 96 and 144 at corners, is above 50 but nowhere above 150
    layers[2, :, 10:] = np.linspace(15, 90, 20).astype(np.uint8)[:, None]  # weak above, strong below
    edges = canny(layers, 50, 150)
    assert ndimage.label(~edges[0])[1] == 2 and not edges[0, 7:13, 7:13].any()
    assert edges[0].sum() <= 4 * 11
    assert not edges[1].any()
    assert (edges[2].sum(axis=1)[1:-1] == 1).all()


def test_distances_follow_the_weights_of_the_chamfer():
    targets = np.zeros((2, 6, 6), bool)
    targets[0, 0, 0] = True
    distance = chamfer_distance(targets)
    expected = [(0, 0, 0), (0, 5, 5), (3, 3, 4.2), (1, 2, 2.1969), (5, 1, 5.1969), (4, 3, 2 * 1.4 + 2.1969)]
    for row, column, steps in expected:
        assert distance[0, row, column] == pytest.approx(steps, abs=1e-4)
    assert np.isinf(distance[1]).all()


# Colour


def hsv_of(images):
    return matplotlib.colors.rgb_to_hsv(images.numpy().transpose(0, 2, 3, 1) / 255)


def bytes_of(hsv):
    return matplotlib.colors.hsv_to_rgb(hsv).transpose(0, 3, 1, 2) * 255


def with_greys():
    images = pictures(n=4)
    images[:, :, :8] = images[:, :1, :8]
    images[:, :, :4, :4] = 0
    return images


@by_severity(shift=(0.05, 0.1, 0.15, 0.2, 0.3))
def test_brightness_shifts_the_value_and_keeps_hue_and_saturation(severity, shift):
    images = with_greys()
    hsv = hsv_of(images)
    hsv[..., 2] = (hsv[..., 2] + shift).clip(0, 1)
    bright = corrupt(images, "brightness", severity)
    assert abs(bright.numpy() - bytes_of(hsv)).max() <= 1.01
    assert change(flat(60), "brightness", severity).mean() == pytest.approx(255 * shift, abs=1)


@by_severity(line=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)))
def test_saturate_scales_and_shifts_the_saturation(severity, line):
    images = with_greys()
    hsv = hsv_of(images)
    hsv[..., 1] = (hsv[..., 1] * line[0] + line[1]).clip(0, 1)
    assert abs(corrupt(images, "saturate", severity).numpy() - bytes_of(hsv)).max() <= 1.01


@by_severity(factor=(0.75, 0.5, 0.4, 0.3, 0.15))
def test_contrast_scales_deviations_from_the_mean_and_their_whole_spectrum(severity, factor):
    images = white_noise(n=4)
    flatter = corrupt(images, "contrast", severity).double().numpy()
    clean = images.double().numpy()
    axes = (-2, -1)
    assert flatter.mean(axis=axes) == pytest.approx(clean.mean(axis=axes) - 0.5, abs=0.3)
    assert flatter.std(axis=axes) == pytest.approx(factor * clean.std(axis=axes), rel=0.02)
    ratio = spectrum(flatter)[1:, 1:] / spectrum(clean)[1:, 1:]
    assert np.median(ratio) == pytest.approx(factor**2, rel=0.03)


# Digital


@by_severity(quality=(80, 65, 58, 50, 40))
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_reads_back(severity, quality, channels):
    images = pictures(n=2, channels=channels)
    for clean, stored in zip(images, corrupt(images, "jpeg_compression", severity), strict=True):
        file = io.BytesIO()
        Image.fromarray(clean.permute(1, 2, 0).squeeze(2).numpy()).save(file, "JPEG", quality=quality)
        read = np.asarray(Image.open(file))
        assert np.array_equal(stored.permute(1, 2, 0).squeeze(2).numpy(), read)


@by_severity(share=(0.95, 0.9, 0.85, 0.75, 0.65))
def test_pixelate_keeps_as_many_pixels_as_defined(severity, share):
    out = corrupt(pictures(n=1), "pixelate", severity)[0].numpy()
    kept = int(32 * share)
    # Where both pixels of a pair show the same coarse one, they are equal: as many rows as get lost.
    pairs_of_rows = (np.diff(out.astype(int), axis=1) == 0).all(axis=(0, 2)).sum()
    reference = Image.fromarray(pictures(n=1)[0].permute(1, 2, 0).numpy())
    coarse = reference.resize((kept, kept), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.array_equal(out.transpose(1, 2, 0), np.asarray(coarse))
    assert pairs_of_rows <= 32 - kept


def test_pixelate_to_a_half_averages_blocks_of_two():
    images = pictures(n=3)
    out = corrupt(images, "pixelate", 2, scale="imagenet").double()
    blocks = torch.nn.functional.avg_pool2d(images.double(), 2)
    assert (out - blocks.repeat_interleave(2, 2).repeat_interleave(2, 3)).abs().max() <= 1


@by_severity(stretch=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)))
def test_elastic_transform_jolts_three_points_and_ripples(severity, stretch):
    amplitude, smoothness, jolt = (32 * share for share in stretch)
    step, n = 7, 100
    rows, columns = np.mgrid[:32, :32]
    place = torch.from_numpy(np.stack([columns, rows, rows])[None].repeat(n, 0).astype(np.uint8) * step)
    # The image tells where each of its pixels came from; decimals are cut off, half a byte on average.
    came = (corrupt(place, "elastic_transform", severity).double().numpy()[:, :2] + 0.5) / step
    inner = (slice(9, 23), slice(9, 23))
    design = np.stack([columns[inner].ravel(), rows[inner].ravel(), np.ones(14 * 14)], axis=1)
    corners = np.array([[26, 26], [26, 6], [6, 6]])
    moves, residues = [], []
    for x, y in came:
        values = np.stack([x[inner].ravel(), y[inner].ravel()], axis=1)
        affine = np.linalg.lstsq(design, values, rcond=None)[0]
        residues.append(values - design @ affine)
        moves.append((corners - affine[2]) @ np.linalg.inv(affine[:2]) - corners)
    # The ripple by itself, and what fitting an affine map makes of it.
    noise = np.random.default_rng(1).uniform(-1, 1, (400, 32, 32))
    blurred = ndimage.gaussian_filter(noise, (0, smoothness, smoothness), mode="reflect", truncate=3)
    ripple = amplitude * blurred[:, *inner].reshape(400, -1).T
    fit = np.linalg.lstsq(design, ripple, rcond=None)[0]
    shifted = np.column_stack([corners, np.ones(3)]) @ fit
    cut = 1 / math.sqrt(12) / step  # of the decimals
    assert np.std(residues) == pytest.approx(math.hypot(cut, np.std(ripple - design @ fit)), rel=0.1)
    assert np.std(moves) == pytest.approx(math.hypot(jolt / math.sqrt(3), np.std(shifted)), rel=0.1)
    if severity == 1:
        assert np.abs(moves).max() < jolt + 0.3
    assert abs(came - np.stack([columns, rows]))[:, :, *inner].max() < 3 * jolt + amplitude


# What holds for all


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_any_batch(name, monkeypatch):
    images = pictures(n=7)
    together = corrupt(images, name, 3, seed=5)
    order = [4, 0, 6, 2]
    assert torch.equal(corrupt(images[order], name, 3, seed=5, indices=order), together[order])
    assert torch.equal(corrupt(images[3:4], name, 3, seed=5, indices=torch.tensor([3])), together[3:4])
    monkeypatch.setattr(corruptions, "_VALUES_AT_ONCE", 2 * images[0].numel())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(corrupt(images.to(memory_format=torch.channels_last), name, 3, seed=5), together)
    finally:
        torch.set_num_threads(threads)
    other_seed = corrupt(images, name, 3, seed=6)
    assert torch.equal(other_seed, together) == (name not in RANDOM)


def test_equal_images_at_different_indices_get_different_noise():
    noisy = corrupt(flat(128, n=2), "gaussian_noise", 1)
    assert not torch.equal(noisy[0], noisy[1])


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for name in RANDOM:
        corrupt(pictures(n=1), name)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_input_is_kept_and_a_higher_severity_changes_more(name):
    images = pictures(n=12)
    copy = images.clone()
    errors = [(change(images, name, severity) ** 2).mean() for severity in SEVERITIES]
    assert torch.equal(images, copy)
    assert errors[0] > 0
    # The authors' own steps of these five do not grow on every measure.
    if name not in ("glass_blur", "frost", "elastic_transform", "saturate", "spatter"):
        assert errors == sorted(errors)
    if name != "elastic_transform":
        assert errors[-1] > errors[0]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 16, 16), (3, 24, 40), (3, 5, 3), (1, 1, 1)])
def test_images_of_any_shape_are_taken(shape):
    images = pictures(2, shape[1], shape[2], shape[0])
    for name in CORRUPTIONS:
        for severity in (1, 5):
            out = corrupt(images, name, severity)
            assert out.shape == images.shape and out.dtype == torch.uint8, name
            if min(shape) >= 8 and severity == 5:
                assert not torch.equal(out, images), name


def test_no_images_are_no_trouble():
    assert corrupt(pictures(n=1)[:0], "fog").shape == (0, 3, 32, 32)


@pytest.mark.parametrize("name", ["brightness", "snow", "frost", "contrast", "fog", "defocus_blur"])
def test_grey_images_become_the_grey_of_the_same_in_colour(name):
    grey = pictures(n=2, channels=1)
    red, green, blue = corrupt(grey.repeat(1, 3, 1, 1), name, 4).double().unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert (corrupt(grey, name, 4)[:, 0] - luma).abs().max() <= 1.5


@pytest.mark.parametrize(("side", "scale"), [(32, "cifar"), (95, "cifar"), (96, "imagenet"), (130, "imagenet")])
def test_the_constants_follow_the_shorter_side(side, scale):
    images = pictures(n=1, height=side, width=140)
    for name in ("gaussian_noise", "frost", "elastic_transform", "pixelate"):
        assert torch.equal(corrupt(images, name, 2), corrupt(images, name, 2, scale=scale))
        other = "cifar" if scale == "imagenet" else "imagenet"
        assert not torch.equal(corrupt(images, name, 2), corrupt(images, name, 2, scale=other))


@by_severity(deviation=(0.08, 0.12, 0.18, 0.26, 0.38))
def test_large_images_get_the_noise_made_for_imagenet(severity, deviation):
    noise = change(flat(128, n=2, side=128), "gaussian_noise", severity)
    reach = 127.5 / 255 / deviation  # where values are clipped, in standard deviations
    clipped = 1 - 2 * reach * stats.norm.pdf(reach) + 2 * (reach**2 - 1) * stats.norm.sf(reach)
    assert noise.std() == pytest.approx(255 * deviation * math.sqrt(clipped), rel=0.01)


def test_the_names_are_those_of_the_benchmark():
    assert len(BENCHMARK) == 15 and len(set(CORRUPTIONS)) == 19
    assert set(CORRUPTIONS) - set(BENCHMARK) == {"speckle_noise", "gaussian_blur", "spatter", "saturate"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "rain"}, "gaussian_noise, shot_noise"),
        ({"severity": 0}, "1, 2, 3, 4, 5"),
        ({"severity": 6}, "1, 2, 3, 4, 5"),
        ({"scale": "huge"}, "auto, cifar, imagenet"),
        ({"images": torch.zeros(1, 3, 32, 32)}, "uint8"),
        ({"images": torch.zeros(1, 2, 32, 32, dtype=torch.uint8)}, "C being 1 or 3"),
        ({"images": torch.zeros(3, 32, 32, dtype=torch.uint8)}, "(3, 32, 32)"),
        ({"indices": [1, 2]}, "2 indices for 1 images"),
        ({"indices": [-1]}, "negative"),
        ({"seed": -1}, "negative"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, told):
    with pytest.raises(BadInput) as error:
        corrupt(**{"images": pictures(n=1), "name": "fog", "severity": 1, **arguments})
    assert told in str(error.value) and "\n" not in str(error.value)


def test_the_bar_appears_only_where_it_takes_long_and_changes_nothing(monkeypatch, capsys):
    images = pictures(n=6)
    expected = corrupt(images, "zoom_blur", 5)
    monkeypatch.setattr(corruptions, "_VALUES_AT_ONCE", images[0].numel())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert torch.equal(corrupt(images, "zoom_blur", 5, progress=True), expected)
    assert capsys.readouterr() == ("", "")
    for name in ("_PATIENCE_SECONDS", "_LOOK_AFTER_SECONDS", "_REDRAW_SECONDS"):
        monkeypatch.setattr(progress, name, 0.0)
    assert torch.equal(corrupt(images, "zoom_blur", 5, progress=True), expected)
    out, err = capsys.readouterr()
    assert "zoom_blur 5" in err and out == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    corrupt(images, "zoom_blur", 5, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_ten_thousand_images_take_less_than_a_minute_of_one_core(name):
    images = pictures(n=200)
    corrupt(images[:1], name, 5)  # textures are drawn once
    began = time.process_time()
    corrupt(images, name, 5)
    assert (time.process_time() - began) * 10_000 / 200 < 60
