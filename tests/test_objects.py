"""The toys: right size, same for the same seed, and each factor readable from the picture alone."""

import numpy as np
import pytest

from gavs_lib.world.objects import AREA, FAMILIES, MATERIALS, SIZES, TOYS, Toy, draw_toy

INDIVIDUALS = 8


@pytest.fixture(scope="module")
def shop():
    """[(toy, sprite)] with several individuals of every toy."""
    rng = np.random.default_rng(11)
    return [(toy, draw_toy(toy, rng)) for toy in TOYS for _ in range(INDIVIDUALS)]


def mask_of(sprite):
    return sprite[..., 3] >= 128


def nearest_centroid_accuracy(train, train_labels, test, test_labels):
    """Share of test rows whose nearest class mean (features standardised on the training rows) is their own."""
    mean, deviation = train.mean(0), train.std(0) + 1e-9
    train, test = (train - mean) / deviation, (test - mean) / deviation
    names = sorted(set(train_labels))
    centroids = np.stack([train[train_labels == name].mean(0) for name in names])
    nearest = np.array(names)[((test[:, None] - centroids) ** 2).sum(-1).argmin(1)]
    return (nearest == test_labels).mean()


def test_every_combination_is_a_toy_once_and_in_order():
    assert len(TOYS) == len(set(TOYS)) == len(FAMILIES) * len(SIZES) * len(MATERIALS) == 36
    assert TOYS[:4] == (
        Toy("bell", "small", "wood"),
        Toy("bell", "small", "metal"),
        Toy("bell", "small", "glass"),
        Toy("bell", "large", "wood"),
    )


def test_names_round_trip_and_hold_no_underscore():
    for toy in TOYS:
        assert Toy.from_name(toy.name) == toy
        assert "_" not in toy.name
    assert Toy.from_name("small-wood-bell") == Toy(family="bell", size="small", material="wood")


@pytest.mark.parametrize(
    ("factors", "complaint"),
    [
        (("piano", "small", "wood"), "family 'piano'.*bell, drum"),
        (("bell", "huge", "wood"), "size 'huge'.*small, large"),
        (("bell", "small", "clay"), "material 'clay'.*wood, metal, glass"),
        (("bell", "wood", "small"), "size 'wood'"),
    ],
)
def test_an_unknown_factor_value_is_named_with_what_was_expected(factors, complaint):
    with pytest.raises(ValueError, match=complaint):
        Toy(*factors)


@pytest.mark.parametrize(
    "name", ["bell", "small-wood", "small_wood_bell", "", "small-wood-bell-2", "wood-small-bell", None]
)
def test_a_malformed_name_is_refused(name):
    with pytest.raises(ValueError, match="small-wood-bell|unknown size"):
        Toy.from_name(name)


def test_a_frame_too_small_to_recognise_a_toy_is_refused():
    with pytest.raises(ValueError, match="frame is 32 pixels"):
        draw_toy(TOYS[0], np.random.default_rng(0), frame=32)


@pytest.mark.parametrize("frame", [64, 128, 224])
def test_mask_area_stays_within_the_range_of_its_size(frame):
    rng = np.random.default_rng(frame)
    for toy in TOYS * (6 if frame == 128 else 2):
        share = mask_of(draw_toy(toy, rng, frame)).sum() / frame**2
        low, high = AREA[toy.size]
        assert low <= share <= high, (toy.name, share)


def test_areas_fill_their_range_and_sizes_never_meet(shop):
    shares = {size: np.array([mask_of(s).mean() * s[..., 3].size for t, s in shop if t.size == size]) for size in SIZES}
    assert shares["small"].max() * 1.5 < shares["large"].min()
    for size in SIZES:  # uniform on (low, high): mean in the middle, deviation (high - low) / sqrt(12)
        low, high = np.array(AREA[size]) * 128**2
        assert shares[size].mean() == pytest.approx((low + high) / 2, abs=0.1 * (high - low))
        assert shares[size].std() == pytest.approx((high - low) / 12**0.5, rel=0.25)


def test_sprites_are_tight_rgba_with_a_solid_silhouette(shop):
    for toy, sprite in shop:
        assert sprite.dtype == np.uint8 and sprite.ndim == 3 and sprite.shape[2] == 4
        alpha = sprite[..., 3]
        assert all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])), toy.name
        # antialiased edges only: nothing inside is transparent, glass included
        assert (alpha == 255).sum() > 0.6 * (alpha >= 128).sum(), toy.name


def test_same_generator_state_draws_the_same_sprite_and_another_does_not():
    for toy in TOYS[::5]:
        first, again, other = (draw_toy(toy, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert first.shape != other.shape or not np.array_equal(first, other)


def test_material_is_read_from_colour_in_a_family_never_seen(shop):
    """Nearest centroid on mean and deviation of (red - blue, green - red, brightness), leaving each family out."""

    def colour_statistics(sprite):
        red, green, blue = sprite[mask_of(sprite)][:, :3].astype(float).T
        channels = np.stack((red - blue, green - red, (red + green + blue) / 3))
        return np.concatenate((channels.mean(1), channels.std(1)))

    features = np.array([colour_statistics(sprite) for _, sprite in shop])
    materials = np.array([toy.material for toy, _ in shop])
    families = np.array([toy.family for toy, _ in shop])
    for family in FAMILIES:
        left_out = families == family
        accuracy = nearest_centroid_accuracy(
            features[~left_out], materials[~left_out], features[left_out], materials[left_out]
        )
        assert accuracy >= 0.8, (family, accuracy)


def test_family_is_read_from_the_silhouette_in_the_other_size(shop):
    """Nearest centroid on scale-free, mirror-free central moments of the mask; chance is 1 / 6."""

    def moments(sprite):
        y, x = np.nonzero(mask_of(sprite))
        n = len(x)
        x, y = (x - x.mean()) / n**0.5, (y - y.mean()) / n**0.5
        orders = [(2, 0), (0, 2), (0, 3), (2, 1), (4, 0), (2, 2), (0, 4)]
        odd = [(1, 1), (3, 0), (1, 2)]  # their sign turns with the mirror image
        even = [np.mean(x**p * y**q) for p, q in orders]
        return np.array(even + [abs(np.mean(x**p * y**q)) for p, q in odd] + [n / sprite[..., 3].size])

    features = np.array([moments(sprite) for _, sprite in shop])
    families = np.array([toy.family for toy, _ in shop])
    sizes = np.array([toy.size for toy, _ in shop])
    for size in SIZES:
        left_out = sizes == size
        accuracy = nearest_centroid_accuracy(
            features[~left_out], families[~left_out], features[left_out], families[left_out]
        )
        assert accuracy >= 0.7, (size, accuracy)


def test_size_changes_the_scale_and_nothing_else():
    """The same draws in both sizes: after resizing to one grid the two masks agree, and so do the mean colours."""
    for family in FAMILIES:
        for material in MATERIALS:
            small, large = (draw_toy(Toy(family, size, material), np.random.default_rng(5)) for size in SIZES)
            grid = (np.arange(48) + 0.5) / 48
            masks = [
                mask_of(s)[np.ix_((grid * s.shape[0]).astype(int), (grid * s.shape[1]).astype(int))]
                for s in (small, large)
            ]
            overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
            assert overlap > 0.8, (family, material, overlap)
            colours = [s[mask_of(s)][:, :3].mean(0) for s in (small, large)]
            assert np.abs(colours[0] - colours[1]).max() < 20, (family, material, colours)
