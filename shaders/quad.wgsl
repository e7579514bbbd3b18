// Rectangles. `plain` fills whole pixels with one colour; `round` shades corners, borders and fractional edges.

struct View { size: vec2f }
@group(0) @binding(0) var<uniform> view: View;

// Corner `i` of a whole-pixel extent (x0, y0, x1, y1) in clip space.
fn corner(i: u32, extent: vec4i) -> vec4f {
    let p = vec2f(vec2i(select(extent.x, extent.z, (i & 1u) != 0u), select(extent.y, extent.w, i > 1u)));
    return vec4f(p.x / view.size.x * 2.0 - 1.0, 1.0 - p.y / view.size.y * 2.0, 0.0, 1.0);
}

fn premultiply(c: vec4f) -> vec4f {
    return vec4f(c.rgb * c.a, c.a);
}

struct Plain {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) color: vec4f,
}

@vertex
fn vs_plain(@builtin(vertex_index) i: u32, @location(0) extent: vec4i, @location(1) color: vec4f) -> Plain {
    return Plain(corner(i, extent), premultiply(color));
}

@fragment
fn fs_plain(in: Plain) -> @location(0) vec4f {
    return in.color;
}

struct Round {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) rect: vec4f,
    @location(1) @interpolate(flat) radius: vec4f,
    @location(2) @interpolate(flat) fill: vec4f,
    @location(3) @interpolate(flat) border: vec4f,
    @location(4) @interpolate(flat) width: f32,
}

@vertex
fn vs_round(
    @builtin(vertex_index) i: u32,
    @location(0) extent: vec4i,
    @location(1) rect: vec4f,
    @location(2) radius: vec4f,
    @location(3) fill: vec4f,
    @location(4) border: vec4f,
    @location(5) width: f32,
) -> Round {
    return Round(corner(i, extent), rect, radius, premultiply(fill), premultiply(border), width);
}

@fragment
fn fs_round(in: Round) -> @location(0) vec4f {
    // Measured from the edges, not from the middle: when one end of a bar moves, the other keeps its very pixels.
    let low = in.position.xy - in.rect.xy;
    let high = in.rect.zw - in.position.xy;
    let side = select(in.radius.zw, in.radius.yx, low.y < high.y); // right, left
    let r = select(side.x, side.y, low.x < high.x);
    let q = r - min(low, high);
    let d = length(max(q, vec2f(0.0))) + min(max(q.x, q.y), 0.0) - r;
    // The exact share of the pixel inside the box bounds the distance's estimate, so that slivers stay faint.
    let s = clamp(min(low, vec2f(0.5)) + min(high, vec2f(0.5)), vec2f(0.0), vec2f(1.0));
    let coverage = min(clamp(0.5 - d, 0.0, 1.0), s.x * s.y);
    let inner = clamp(0.5 - d - in.width, 0.0, 1.0);
    return (in.border * (1.0 - inner) + in.fill * inner) * coverage;
}
