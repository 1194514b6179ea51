"""What GpuBench compares with: the same operations in PyTorch, on the same GPU, in the same run.

Started by GpuBench. Reads one JSON object a line and answers with one:
  {"version": true}                       -> {"torch": version}
  {"prepare": group, "sizes": {...}}      -> {} when the group's cases are ready, those before gone
  {"run": case, "repeats": n}             -> {"ms": [...], "memory": bytes at most,
                                              "error": relative Frobenius error or null}
"""
import gc
import json
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

torch.backends.cuda.matmul.allow_tf32 = False
cases, checks = {}, {}


def normal(*shape, deviation=1.0):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16) * deviation


def relative(x, reference):
    return ((x.double() - reference.double()).norm() / reference.double().norm()).item()


def ceilings():
    a, b = normal(8192, 8192), normal(8192, 8192)
    cases["mm"] = lambda: a @ b
    source = torch.randn(1 << 28, device="cuda")
    to = torch.empty_like(source)
    cases["copy"] = lambda: to.copy_(source)


def grouped(name, counts, hidden, width):
    offsets = torch.tensor(counts, device="cuda").cumsum(0).to(torch.int32)
    rows, experts = sum(counts), len(counts)
    first = counts[0]

    def products(kind, inputs, outputs):
        x, dy = normal(rows, inputs), normal(rows, outputs)
        w = normal(experts, outputs, inputs, deviation=0.02)
        forward = lambda: F.grouped_mm(x, w.transpose(1, 2), offs=offsets)
        dx = lambda: F.grouped_mm(dy, w, offs=offsets)
        dw = lambda: F.grouped_mm(dy.t(), x, offs=offsets)
        cases[f"{name} {kind} F.grouped_mm"] = forward
        cases[f"{name} {kind} dx F.grouped_mm"] = dx
        cases[f"{name} {kind} dw F.grouped_mm"] = dw
        checks[f"{name} {kind} F.grouped_mm"] = lambda: relative(
            forward()[:first], x[:first].float() @ w[0].float().t()
        )
        checks[f"{name} {kind} dx F.grouped_mm"] = lambda: relative(dx()[:first], dy[:first].float() @ w[0].float())
        checks[f"{name} {kind} dw F.grouped_mm"] = lambda: relative(dw()[0], dy[:first].float().t() @ x[:first].float())

    products("up", hidden, 2 * width)
    products("down", width, hidden)


def experts(routing, tokens, hidden, experts, chosen, width, shared, scale):
    for name, counts in routing.items():
        grouped(name, counts, hidden, width)
    moe(tokens, hidden, experts, chosen, width, shared, scale)


def moe(tokens, hidden, experts, chosen, width, shared, scale):
    def layer(x, router, bias, up, down, shared_up, shared_down):
        scores = F.linear(x.float(), router.float()).sigmoid()
        index = torch.topk(scores + bias, chosen, dim=-1, sorted=False).indices
        weights = scores.gather(1, index)
        weights = scale * weights / (weights.sum(-1, keepdim=True) + 1e-20)
        flat = index.flatten()
        order = torch.argsort(flat, stable=True)
        offsets = torch.histc(flat.float(), experts, 0, experts - 1).cumsum(0).to(torch.int32)
        h = F.grouped_mm(x[order // chosen], up.transpose(1, 2), offs=offsets)
        gate, lift = h.chunk(2, -1)
        y = F.grouped_mm(F.silu(gate) * lift, down.transpose(1, 2), offs=offsets)
        y = y * weights.flatten()[order].unsqueeze(-1).to(y.dtype)
        back = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device="cuda"))
        gate, lift = F.linear(x, shared_up).chunk(2, -1)
        return y[back].view(-1, chosen, hidden).sum(1) + F.linear(F.silu(gate) * lift, shared_down)

    x = normal(tokens, hidden).requires_grad_()
    parameters = [
        normal(experts, hidden, deviation=0.02),
        normal(experts, 2 * width, hidden, deviation=0.02),
        normal(experts, hidden, width, deviation=0.02),
        normal(2 * shared, hidden, deviation=0.02),
        normal(hidden, shared, deviation=0.02),
    ]
    parameters = [p.requires_grad_() for p in parameters]
    bias = torch.zeros(experts, device="cuda")
    dout = normal(tokens, hidden)
    compiled = torch.compile(layer)

    def call(f):
        router, up, down, shared_up, shared_down = parameters
        return f(x, router, bias, up, down, shared_up, shared_down)

    def forward(f):
        with torch.no_grad():
            return call(f)

    def both(f):
        return torch.autograd.grad(call(f), [x, *parameters], dout)

    for kind, f in (("eager", layer), ("compiled", compiled)):
        cases[f"MoE layer forward {kind}"] = lambda f=f: forward(f)
        cases[f"MoE layer forward+backward {kind}"] = lambda f=f: both(f)


def decode(sequences, tokens, heads):
    """One query a sequence against latent (512) and rotated (64) keys, the latent as value."""
    cache = normal(sequences, tokens, 576)

    def attend(q):
        scores = torch.bmm(q, cache.transpose(1, 2)).float() * 0.07
        return torch.bmm(scores.softmax(-1).to(q.dtype), cache[..., :512])

    compiled = torch.compile(attend, mode="max-autotune-no-cudagraphs")
    for h in heads:
        q = normal(sequences, h, 576)
        cases[f"MLA decode, {h} heads eager"] = lambda q=q: attend(q)
        cases[f"MLA decode, {h} heads compiled"] = lambda q=q: compiled(q)


def prefill(shapes):
    """cuDNN on contiguous queries, keys and values: joining the keys' parts is not counted."""
    for sequences, tokens, heads in shapes:
        q, k = (normal(sequences, heads, tokens, 192).requires_grad_() for _ in range(2))
        v = normal(sequences, heads, tokens, 128).requires_grad_()
        dout = normal(sequences, heads, tokens, 128)

        def attend(q=q, k=k, v=v):
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        def forward(attend=attend):
            with torch.no_grad():
                return attend()

        name = f"MLA prefill {sequences} x {tokens}, {heads} heads"
        cases[f"{name} forward SDPA cuDNN"] = forward
        cases[f"{name} forward+backward SDPA cuDNN"] = (
            lambda attend=attend, q=q, k=k, v=v, dout=dout: torch.autograd.grad(
                attend(), [q, k, v], dout
            )
        )


def muon(shapes):
    @torch.compile
    def newton_schulz(x):
        x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
        for _ in range(5):
            a = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.775, alpha=2.0315), x, beta=3.4445)
        return x

    for name, (matrices, rows, columns) in shapes.items():
        parameters = [torch.nn.Parameter(normal(rows, columns).float()) for _ in range(matrices)]
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer = torch.optim.Muon(parameters, lr=1e-3, adjust_lr_fn="match_rms_adamw")
        cases[f"{name} torch.optim.Muon"] = optimizer.step
        g = normal(matrices, rows, columns)
        cases[f"{name} batched Newton-Schulz compiled"] = lambda g=g: newton_schulz(g)


def loss(tokens, hidden, vocabulary):
    x = normal(tokens, hidden).requires_grad_()
    w = normal(vocabulary, hidden, deviation=0.02).requires_grad_()
    target = torch.randint(vocabulary, (tokens,), device="cuda")

    def head(x, w):
        return F.cross_entropy(F.linear(x, w).float(), target)

    compiled = torch.compile(head)
    for kind, f in (("eager", head), ("compiled", compiled)):
        cases[f"linear + cross-entropy, forward+backward {kind}"] = lambda f=f: torch.autograd.grad(f(x, w), [x, w])


def movement(rows, hidden, heads, width, experts, chosen, numbers):
    """Everything under torch.compile, but AdamW: fused=True, in float32, without the bf16 copy."""

    def case(name, f, *inputs):
        compiled = torch.compile(f)
        cases[f"{name} compiled"] = lambda: compiled(*inputs)

    def norm(x, residual, gain):
        r = x + residual
        return r, F.rms_norm(r, (hidden,), gain, 1e-5)

    x, residual, dy, dr = (normal(rows, hidden) for _ in range(4))
    gain = normal(hidden)
    case("residual + RMSNorm", norm, x, residual, gain)
    x.requires_grad_(), gain.requires_grad_()
    results = torch.compile(norm)(x, residual, gain)
    cases["residual + RMSNorm backward compiled"] = lambda: torch.autograd.grad(
        results, [x, gain], [dr, dy], retain_graph=True
    )

    def rope(q, cosine, sine):
        a, b = q[..., 128::2].float(), q[..., 129::2].float()
        turned = torch.stack((a * cosine - b * sine, b * cosine + a * sine), -1)
        q[..., 128:] = turned.flatten(-2).to(q.dtype)

    angles = torch.randn(rows, 1, 32, device="cuda")
    case("RoPE", rope, normal(rows, heads, 192), angles, angles)

    def swiglu(h):
        gate, up = h.chunk(2, -1)
        return F.silu(gate) * up

    h = normal(rows, 2 * width)
    case("SwiGLU", swiglu, h)
    h.requires_grad_()
    a, da = torch.compile(swiglu)(h), normal(rows, width)
    cases["SwiGLU backward compiled"] = lambda: torch.autograd.grad(a, [h], da, retain_graph=True)

    def router(x, w, bias):
        scores = F.linear(x, w).float().sigmoid()
        index = torch.topk(scores + bias, chosen, dim=-1).indices
        weights = scores.gather(1, index)
        return index, weights / weights.sum(-1, keepdim=True)

    case("router", router, x.detach(), normal(experts, hidden, deviation=0.02),
         torch.zeros(experts, device="cuda"))
    tokens = rows // 4
    order = torch.argsort(torch.randint(experts, (tokens * chosen,), device="cuda"))
    back = torch.argsort(order)
    few, many = normal(tokens, hidden), normal(tokens * chosen, hidden)
    weights = torch.rand(tokens, chosen, 1, device="cuda")
    case("permute", lambda few, order: few[order // chosen], few, order)
    case(
        "combine",
        lambda many, back, weights: (many[back].view(tokens, chosen, hidden) * weights)
        .sum(1)
        .to(torch.bfloat16),
        many, back, weights,
    )
    p = torch.nn.Parameter(torch.randn(numbers, device="cuda"))
    p.grad = torch.randn_like(p)
    cases["AdamW fused"] = torch.optim.AdamW([p], lr=1e-3, fused=True).step

    def quantize(x):
        largest = x.abs().amax((-3, -1), keepdim=True).float()
        return (x.float() * (448 / largest)).to(torch.float8_e4m3fn), largest / 448

    def dequantize(q, scale):
        return (q.float() * scale).to(torch.bfloat16)

    matrix = normal(numbers // hidden, hidden)
    square = matrix.view(-1, 128, hidden // 128, 128)
    row = matrix.view(-1, 1, hidden // 128, 128)
    case("FP8 quantize 128 x 128", quantize, square)
    case("FP8 quantize 1 x 128", quantize, row)
    case("FP8 dequantize", dequantize, *quantize(row))


def nothing():
    pass


GROUPS = {f.__name__: f for f in (ceilings, experts, decode, prefill, muon, loss, movement, nothing)}


def milliseconds(f, repeats):
    event = lambda: torch.cuda.Event(enable_timing=True)
    f()
    torch.cuda.synchronize()
    begin, end = event(), event()
    begin.record()
    for _ in range(3):
        f()
    end.record()
    torch.cuda.synchronize()
    for _ in range(int(100 / (begin.elapsed_time(end) / 3)) + 1):  # 100 ms of warm-up
        f()
    marks = [(event(), event()) for _ in range(repeats)]
    for begin, end in marks:
        begin.record()
        f()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in marks]


def memory(f):
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    f()
    return torch.cuda.max_memory_allocated() - before


for line in sys.stdin:
    request = json.loads(line)
    if "version" in request:
        answer = {"torch": torch.__version__}
    elif "prepare" in request:
        cases.clear()
        checks.clear()
        gc.collect()
        torch.cuda.empty_cache()
        GROUPS[request["prepare"]](**request["sizes"])
        answer = {}
    else:
        case = request["run"]
        check = checks.pop(case, None)
        answer = {
            "error": check() if check else None,
            "ms": milliseconds(cases[case], request["repeats"]),
            "memory": memory(cases[case]),
        }
    print(json.dumps(answer), flush=True)
