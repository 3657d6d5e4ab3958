"""Every field there is, with its reason or unit. The other cards say only how they differ from this one.

Fields marked (machine) may change between a run and its resumption, as no step of the training depends on them; all
others decide the result, and a workdir refuses to go on under other values, but for train.batch_size. Lists are
comma-separated strings, so that they can be given on the command line.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's network, recipe and data layout (Krizhevsky, Sutskever and Hinton 2012)."""
    config = ConfigDict()
    config.name = 'paper'  # (machine) how this run is called in logs and pictures
    config.seed = 0  # decides initial weights, order of examples, crops, flips, lighting and dropout

    config.model = ConfigDict()
    config.model.preset = (
        'paper'  # paper, one_gpu, six_convolutions, merged, caffe, caffenet, torchvision, miniature
    )
    config.model.num_classes = 0  # 0: as many as the dataset has
    config.model.crop_size = (
        0  # pixels; 0: the preset's own (224 in the paper, which needs prepare.image_size 256)
    )
    config.model.exchange_layers = (
        ''  # layers that see all columns, such as 'conv3,fc6,fc7,fc8'; none; empty: the preset's
    )
    config.model.activation = ''  # relu, tanh, abs_tanh, sigmoid; empty: the preset's, as in the next four
    config.model.pooling = ''  # max, average
    config.model.lrn_alpha_over_n = (
        ''  # of response normalization; whole: as in the paper's formula; divided: by n, 2012 source
    )
    config.model.dropout = ''  # paper: times keep at test; inverted: divided by it in training; none
    config.model.dropout_position = (
        ''  # behind: of fc6 and fc7, as in the paper; before: them, as in torchvision
    )
    config.model.initialization = (
        'paper'  # whose first weights: paper, source2012, caffe, caffenet, torch, he
    )
    config.model.compute_dtype = (
        'float32'  # bfloat16: half the memory and bandwidth; parameters and loss stay float32
    )
    config.model.matmul_precision = (
        'float32'  # of float32 products on GPU and TPU; tensorfloat32: faster, of 10 bits
    )
    config.model.use_reference_ops = (
        False  # (machine) True: no gradients of our own, for forward-mode and second derivatives
    )

    config.data = ConfigDict()
    config.data.directory = ''  # (machine) a prepared dataset; empty: <workdir>/dataset
    config.data.num_threads = 2  # (machine) threads that decode; the batches do not depend on it
    config.data.prefetch = 2  # (machine) batches that wait on the device
    config.data.device_cache = (
        False  # (machine) True: all training images as uint8 on every device, where they fit
    )

    config.prepare = ConfigDict()
    config.prepare.source = 'folder'  # a word of sources.KINDS; docs/data.md tells what each is
    config.prepare.path = ''  # the folder or archive, or the folder that holds the archives
    config.prepare.image_size = 256  # pixels; shorter side, then the center square (paper, section 2)
    config.prepare.encoding = (
        'jpeg'  # jpeg: small; raw: uint8 pixels, faster to read, about eight times larger
    )
    config.prepare.jpeg_quality = 95  # of JPEG, 1 to 100
    config.prepare.validation_fraction = (
        0.1  # of the training images, where the source has no split of its own
    )
    config.prepare.test_fraction = 0.1  # likewise
    config.prepare.num_cutouts = '8000,1000,1000'  # cutouts alone: images to make for train, validation, test
    config.prepare.expected_counts = (
        'official'  # (machine) of ImageNet's and CIFAR-10's own forms: the whole; listed; any
    )
    config.prepare.verify_md5 = (
        False  # (machine) holds ImageNet's archives against their known sums, which reads all of them
    )
    config.prepare.max_unreadable = (
        0  # (machine) images that may be left out since they cannot be read; all are named
    )
    config.prepare.num_workers = 1  # (machine) processes; the bytes written do not depend on it
    config.prepare.seed = 0  # decides seeded splits and the cut-outs

    config.augment = ConfigDict()
    config.augment.horizontal_flip = True  # horizontal flips with probability a half
    config.augment.mean = (
        'image'  # cropped as the image is; center: the 2012 source's, unmoved; channel: three numbers
    )
    config.augment.lighting = (
        'eigenvalues'  # eigenvalues: the paper's formula; deviations: the 2012 source's; none
    )
    config.augment.pca_basis = (
        'dataset'  # lighting's principal ones: of its training split; imagenet2012: published ones
    )
    config.augment.lighting_std = 0.1  # of the three normal draws, one triple per image and presentation

    config.train = ConfigDict()
    config.train.batch_size = (
        128  # images per step, over all devices; another on resuming goes on behind what was seen
    )
    config.train.grad_accumulation = (
        1  # (machine) parts of a batch that follow one another, for less memory; same numbers
    )
    config.train.num_epochs = 90.0  # passes over the training images
    config.train.learning_rate = 0.01  # the paper's epsilon
    config.train.momentum = 0.9  # the share of the last update that is kept (paper, section 5)
    config.train.weight_decay = 0.0005  # multiplied by the rate, as in the paper's update rule
    config.train.schedule = (
        'step'  # step: by ten at given epochs; cosine: to zero; plateau: by ten when it stalls
    )
    config.train.milestones = '30,60,80'  # epochs; the paper divided by hand, three times
    config.train.patience = (
        5  # plateau: evaluations without improvement until the rate is divided; the 4th time ends
    )
    config.train.min_delta = (
        0.001  # plateau: fall of the top-1 validation error that is an improvement (0.1 %)
    )
    config.train.warmup_epochs = 0.0  # the rate rises linearly from zero over these
    config.train.decay_biases = True  # False: biases do not decay, as in the 2012 source and Caffe
    config.train.bias_lr_multiplier = 1.0  # factor on the rates of all biases; 2 in the 2012 source and Caffe
    config.train.layer_lr_multipliers = ''  # factors by layer, such as 'conv1=0.1,fc8=2'; 0 freezes a layer
    config.train.on_nonfinite = (
        'stop'  # (machine) at a loss that is no number; skip: goes on without those batches
    )
    config.train.profile_steps = (
        ''  # (machine) '10:15' traces steps 10 to 15 with jax's profiler into the workdir
    )

    config.evaluate = ConfigDict()
    config.evaluate.every_epochs = 1.0  # center view on the validation split; 0: only at the end
    config.evaluate.views = 10  # (machine) at the end: 10 is the paper's, 1 the center view
    config.evaluate.split = 'test'  # (machine) what the last figure is measured on, where it exists
    config.evaluate.batch_size = 128  # (machine) images per step
    config.evaluate.checkpoint = (
        'final'  # (machine) final; best: lowest center-view error on validation; or a step
    )

    config.predict = ConfigDict()
    config.predict.images = ''  # (machine) what --images gives: images and folders to classify

    config.benchmark = ConfigDict()
    config.benchmark.steps = 10  # (machine) of training that are timed, each alone
    config.benchmark.rounds = 5  # (machine) in which each layer, and the machine's own rates, are timed

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = 1000  # (machine) 0: only at the end of epochs that are evaluated
    config.checkpoint.keep_every_steps = (
        0  # (machine) keep each N-th for ever; 0: the two newest and the best
    )

    config.log = ConfigDict()
    config.log.every_steps = 20  # (machine) between two lines of the log
    config.log.stalled_loss_steps = (
        1000  # (machine) so long at the loss of guessing brings a warning; 0: never
    )
    config.log.time_breakdown = (
        False  # (machine) with each row, where the time went so far; at the end it is told anyway
    )
    config.log.tensorboard = True  # (machine) event files in the workdir, for `tensorboard --logdir`

    config.mesh = (
        'auto'  # (machine) 'data,column' such as '4,2'; auto: column 2 where it fits, data takes the rest
    )

    config.machine = ConfigDict()
    config.machine.cpu_devices = 1  # (machine) CPU devices to make where there is no accelerator
    config.machine.join_timeout = 300  # (machine) in which all processes of a pod must have come
    config.machine.peer_timeout = 60  # (machine) of a peer's silence until the others end, with status 5
    config.machine.stall_timeout = (
        0  # (machine) of a pod at one place, such as a step, until it ends; 0: any time
    )
    config.machine.compilation_cache = (
        'auto'  # (machine) compiled programs are kept; auto: in ~/.cache; a folder; empty: nowhere
    )
    config.machine.keep_memory = (
        True  # (machine) glibc: keep freed pages instead of faulting them in at every step
    )
    config.machine.deterministic = (
        False  # (machine) GPU: runs equal to the bit, by slower kernels; not measured
    )
    config.machine.ynnpack_dots_only = (
        True  # (machine) CPU: YNNPACK for matrix products alone, not for convolutions
    )
    return config
