"""What to break so that each check in the notebooks fails: notebook -> check -> how.

A check is named by the beginning of what its `assert` asserts, as `ast.unparse` writes it and long enough to be the
only one. What breaks it is code, run in the notebook's own namespace just before the cell of the check or, where that
would come too late, before an earlier cell, which is named by a piece of its text: `(code, "piece")`. It breaks what
the check is about (the model, the library's function, the data), never the check.
"""

# Of all that notebook 03 does to the prompt, only what its checks compare.
FEW_OPERATIONS = "operations = {name: operations[name] for name in ('whole prompt', \"audio: other clip's\")}\n"

BREAKAGES: dict[str, dict[str, str | tuple[str, str]]] = {
    "00_quick_start": {
        "masks.shape == clip.masks.shape": "masks = masks[:, ::2]  # the masks left at half the picture's size",
        "0 < masks.mean()": "masks = masks | True  # a model that marks everything",
        "swapped > 0.5": ("gavs = deaf", "swaps = swap_test"),
        "rise > 0.25": ("gavs = deaf", "decibels = ["),
        "second_toy[-1] - third[-1]": (
            "class MarksAllWhenLoud(MixingDesk):\n"
            "    def play(self, levels):\n"
            "        heard, probability = super().play(levels)\n"
            "        probability[-1] = 1\n"
            "        return heard, probability\n"
            "MixingDesk = MarksAllWhenLoud",
            "decibels = [",
        ),
        "gained > 0.15": ("gavs = deaf", "measured = []"),
    },
    "03_semantic_aware_prompt": {
        "torch.allclose(by_hand, clicks": "clicks, _ = sam.prompt_encoder((points, 0 * inside), None, None)  # beside",
        "abs(miou_box - from_library)": (
            "places_of = find_places\n"
            "find_places = lambda masks: (places_of(masks)[0], places_of(masks)[1][:, [1, 0, 3, 2]])  # y before x"
        ),
        "miou_box > 0.7 and miou_click > 0.5": (
            "untrained = build_sam('mini')\nbuild_sam = lambda *given: untrained  # its weights were never loaded",
            'sam = build_sam("mini", "shipped")',
        ),
        "iou_found.mean() > 0.6": (
            "decode = decode_masks\n"
            "decode_masks = lambda sam, F_V, pe, told, dense: decode(sam, F_V, pe, 0 * told, dense)  # it is deaf",
            "optimizer = torch.optim.Adam([free]",
        ),
        "largest < 0.001 * F_C": (
            "import gavs_lib.prompt\n"
            "corner = lambda F_V, visible: F_V[..., :8, :8].mean(dim=(2, 3))\n"
            "gavs_lib.prompt.global_average_pool = corner  # of the picture, a quarter",
            "cue_of_scattered = ",
        ),
        "noise_difference < 0.0001": (
            "def draw_noise(prompt, given):\n"
            "    prompt.noise.data.normal_()  # anew at every call\n"
            "sap.register_forward_pre_hook(draw_noise)"
        ),
        "forms.loc['gaussian', 'training']": ("torch.randn_like = torch.zeros_like  # a noise that is never drawn"),
        "forms['evaluation'].max()": (
            "SemanticAwareAudioPrompt.train = lambda prompt, on: torch.nn.Module.train(prompt)  # never in evaluation"
        ),
        "torch.allclose(token, from_library": "sap.projection[1] = torch.nn.GELU()  # not the ReLU of equation 2",
        "torch.allclose(logits.sigmoid().cpu(), whole_model": "gavs.sam.pixel_mean.zero_()  # pictures not centred",
        "iou_mirrored.mean() > 0.5": "sap = build_model('gavs').prompt.to(device)  # untrained",
        "by_sound > by_picture": ("sounds = silent(features, vggish).audio  # a deaf prompt", "n = len(features)"),
        "louder > 5": "cues = 100 * F.normalize(cues, dim=2)  # a norm that makes the cue loud",
        "abs(losses[name] - from_library)": (
            "semantic = semantic_loss\n"
            "semantic_loss = lambda v, a, margin: semantic(a, v, margin)  # each sound looks for its picture"
        ),
        "losses['trained'] > margin / 2": ("cues = sounds  # a cue that hears", "untrained = build_model"),
        "relief['trained'] > relief['untrained']": (
            "torch.manual_seed(seed)\ncues = cues_of(build_model('gavs').to(device).eval())  # nothing was trained",
            "untrained = build_model",
        ),
        "gained > 0.25": (
            "s['trained'] = s['untrained']  # a training that aligned nothing",
            "for _ in range(galleries)",
        ),
        "np.allclose(each['whole prompt'][:4]": (
            FEW_OPERATIONS + "normalised = lambda prompt, given: (given[0], F.normalize(given[1]))\n"
            "sap.register_forward_pre_hook(normalised)  # something that the operation leaves out"
        ),
        "value['whole prompt'] - value[\"audio: other clip's\"]": (
            FEW_OPERATIONS + "sap = build_model('gavs').prompt.to(device)  # untrained",
            "unoperated = score",
        ),
        "value['whole prompt'] > value['deaf twin']": (
            FEW_OPERATIONS + "no_sound, load_model = features, lambda kind: (gavs, notes)  # a twin that is not deaf",
            "unoperated = score",
        ),
    },
    "04_cola": {
        "torch.equal(x + adapter(x), x)": "nn.init.zeros_ = nn.init.normal_  # W2 is random at the start",
        "torch.allclose(by_hand, x + adapter(x)": "nn.GELU = nn.ReLU  # another activation",
        "(counted['ColA'] < 0.1": "cola_width = 1024  # no bottleneck",
        "torch.equal(F_V, sam.image_encoder(pixels))": (
            "nn.init.normal_(untrained.sam.image_encoder.blocks[-1].mlp.adapter.up.weight)  # not zero at the start"
        ),
        "torch.equal(decode_masks(untrained": (
            "nn.init.normal_(untrained.sam.mask_decoder.transformer.layers[0].mlp.adapter.up.weight)  # likewise"
        ),
        "first_gradient['ReLU behind it'] == 0": (
            "nn.init.zeros_ = nn.init.normal_  # the ReLU stands behind something that is not zero",
            "wanted = x + torch.tanh",
        ),
        "np.isclose(first_gradient['GELU": ("nn.GELU = nn.ELU  # its slope at 0 is 1", "wanted = x + torch.tanh"),
        "free[-1] < 0.5 * free[0]": (
            "torch.optim.Adam = torch.optim.SGD  # at this learning rate too slow",
            "wanted = x + torch.tanh",
        ),
        "torch.allclose(attend(probe": "torch.softmax = lambda scores, dim: scores.softmax(dim=2)  # over the queries",
        "decoder_difference < 0.0001": (
            "forget = lambda mlp, x: mlp.adapter(mlp.lin2(mlp.act(mlp.lin1(x))))  # equation 4 without its sum\n"
            "type(decoder.transformer.layers[0].mlp).forward = forget"
        ),
        "torch.allclose(of_library, of_model": "images = images / 255  # not the range that the model expects",
        "all((each.min() > 0": (
            "for layer in decoder.transformer.layers:\n"
            "    nn.init.zeros_(layer.mlp.adapter.up.weight), nn.init.zeros_(layer.mlp.adapter.up.bias)  # untrained",
            "sizes, off = {}",
        ),
        "change > 0.5": (
            "for layer in decoder.transformer.layers:\n"
            "    layer.mlp.adapter.up.weight.data *= 1e-4\n"
            "    layer.mlp.adapter.up.bias.data *= 1e-4  # something still, but too little to matter\n"
            "of_model = model(images[None], F_A[None]).mask_logits[0].detach()",
            "sizes, off = {}",
        ),
        "all((np.allclose(each.sum(axis=(2, 3)), 1": (
            "softmax = torch.Tensor.softmax\n"
            "torch.Tensor.softmax = lambda scores, dim: softmax(scores, dim=2)  # over the queries"
        ),
        "(moved['after'] > moved['before']).all()": (
            "networks['after'] = untrained  # a training that changed nothing",
            "rows, moved = [], []",
        ),
        "found > share['layer 2', 'after: another toy']": (
            "pool = F.adaptive_avg_pool2d\n"
            "F.adaptive_avg_pool2d = lambda masks, size: pool(masks, size).mT  # x and y swapped",
            "rows, moved = [], []",
        ),
        "found > share['layer 2', 'before: the toy that plays']": (
            "networks['before'] = copy.deepcopy(model)\n"
            "networks['before'].prompt.projection[2].weight.data *= 0.8  # nearly trained",
            "rows, moved = [], []",
        ),
        "all((torch.equal(starts[0], other)": (
            "nn.init.zeros_ = nn.init.normal_  # adapters that are not nothing at the start",
            "counts, starts = [], []",
        ),
        "counts.loc['freeze', 'trains'] == 0": (
            "nn.Module.requires_grad_ = lambda module, on=True: module  # freezes nothing",
            "counts, starts = [], []",
        ),
        "counts.loc['ColA', 'trains'] < 0.1": ("cola_width = 1024  # no bottleneck", "counts, starts = [], []"),
        "changed <= set(": (
            "library_fit = fit\n"
            "def fit(network, *given, **settings):\n"
            "    network.sam.mask_decoder.iou_token.weight.data *= 0.99  # weight decay reaches what is frozen\n"
            "    return library_fit(network, *given, **settings)"
        ),
        "len(done.history) == 1 or histories[name][-1]": (
            "from functools import partial\ntorch.optim.AdamW = partial(torch.optim.AdamW, maximize=True)  # uphill"
        ),
    },
    "05_training": {
        "clip.uid == drawn.uid and np.array_equal(clip.masks": (
            "from gavs_lib.data import avsbench\n"
            "read_mask = avsbench.read_mask\n"
            "avsbench.read_mask = lambda path, frame: read_mask(path, frame).T  # rows and columns swapped"
        ),
        "np.array_equal(clip.has_mask, drawn.has_mask)": (
            "clip_of = scene_clip\n"
            "def scene_clip(recipe):\n"
            "    drawn = clip_of(recipe)\n"
            "    drawn.has_mask[:] = True  # forgotten: v1s labels one second\n"
            "    return drawn"
        ),
        "not clip.masks[~clip.has_mask].any()": (
            "toyshop, np.zeros = False, np.ones  # a folder of one's own, read with full masks where there are none"
        ),
        "all((len(features[split]) == len(data[split])": (
            "extract = extract_features\n"
            "extract_features = lambda *given, **named: extract(*given, **named).subset([0])  # the others got lost"
        ),
        "torch.allclose(*masks_from.values()": (
            "whole = model.forward\n"
            "half = lambda prefix: None if prefix is None else prefix.bfloat16()  # a cache that rounds\n"
            "model.forward = lambda images, audio, prefix=None: whole(images, audio, half(prefix))"
        ),
        "torch.allclose(by_hand, block(x)": (
            "model.sam.image_encoder.blocks[-1].mlp.adapter.activation = torch.nn.GELU()  # the encoder's is ReLU"
        ),
        "torch.equal(F_V, sam.image_encoder(pixels))": (
            "torch.nn.init.normal_(model.sam.image_encoder.blocks[-1].mlp.adapter.up.bias)  # not zero at the start"
        ),
        "torch.allclose(token, from_library": (
            "import gavs_lib.prompt\n"
            "gavs_lib.prompt.global_average_pool = lambda F_V, visible: F_V.amax(dim=(2, 3))  # no average"
        ),
        "difference < 0.001": "model.sam.prompt_encoder.no_mask_embed.weight.data.zero_()  # forgotten in the model",
        "reached == listed": (
            "import gavs_lib.adapters\n"
            "bottleneck = gavs_lib.adapters.BottleneckAdapter\n"
            "adapt = bottleneck.forward\n"
            "bottleneck.forward = lambda adapter, x: adapt(adapter, x).relu()  # a ReLU behind W2"
        ),
        "torch.isclose(bce, segmentation_loss": (
            "from functools import partial\n"
            "segmentation_loss = partial(segmentation_loss, dice_weight=1.0)  # Dice that nobody asked for"
        ),
        "segmentation_loss(logits, masks, flags) ==": (
            "of_masks = segmentation_loss\n"
            "segmentation_loss = lambda logits, masks, labelled: of_masks(logits, masks)  # of every second"
        ),
        "torch.isclose(by_hand, segmentation_loss": (
            "import gavs_lib.losses\ngavs_lib.losses.SMOOTHING = 100.0  # a Dice that small toys hardly move"
        ),
        "torch.isclose(by_hand, from_library": (
            "semantic = semantic_loss\n"
            "semantic_loss = lambda v, a, margin: semantic(a, v, margin)  # each sound looks for its picture"
        ),
        "alone == 0": (
            "semantic = semantic_loss\n"
            "semantic_loss = lambda v, a, m: semantic(v, a, m) if len(v) > 1 else torch.tensor(m)  # its own negative"
        ),
        "torch.isfinite(total)": "logits[0, 0, 0, 0] = torch.nan  # one bad pixel",
        "loss_after < loss_before": "model = new_model()  # a training that changed nothing",
        "heard > 0": (
            "unheard = lambda prompt, given: (given[0], 0 * given[1])\n"
            "model.prompt.register_forward_pre_hook(unheard)  # the sound gets lost on its way"
        ),
        "0 < done < short.steps": (
            "short = FitConfig(steps=6, batch_size=2, seed=seed)  # no checkpoint within an epoch",
            "except KeyboardInterrupt",
        ),
        "apart <= (0.0": (
            "torch.optim.AdamW.load_state_dict = lambda optimizer, state: None  # its moments are lost",
            "except KeyboardInterrupt",
        ),
        "own.between(0, 1).all()": (
            "measure = score\n"
            "score = lambda *given: measure(*given).assign(miou=lambda rows: 100 * rows['miou'])  # percent",
            "measured = {",
        ),
        "full['GAVS'] - full['deaf twin'] > 0.15": (
            "load = load_model\nload_model = lambda kind: load('gavs_deaf')  # one that does not listen"
        ),
        "full_swap > 0.5": (
            "swap = swap_test\n"
            "swap_test = lambda network, *given: swap(not_hearing, *given)  # who listens is not asked"
        ),
    },
}
