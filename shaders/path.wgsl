// Convex polygons: each edge is a half-plane, the coverage of a pixel the product of the edges' coverages.

struct View { size: vec2f }
@group(0) @binding(0) var<uniform> view: View;

// Corner `i` of a whole-pixel extent (x0, y0, x1, y1) in clip space.
fn corner(i: u32, extent: vec4i) -> vec4f {
    let p = vec2f(vec2i(select(extent.x, extent.z, (i & 1u) != 0u), select(extent.y, extent.w, i > 1u)));
    return vec4f(p.x / view.size.x * 2.0 - 1.0, 1.0 - p.y / view.size.y * 2.0, 0.0, 1.0);
}

// Edge k is nx[k] * x + ny[k] * y + c[k]: the distance from the edge, positive inside.
struct Polygon {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) color: vec4f,
    @location(1) @interpolate(flat) nx0: vec4f,
    @location(2) @interpolate(flat) nx1: vec4f,
    @location(3) @interpolate(flat) ny0: vec4f,
    @location(4) @interpolate(flat) ny1: vec4f,
    @location(5) @interpolate(flat) c0: vec4f,
    @location(6) @interpolate(flat) c1: vec4f,
}

@vertex
fn vs_path(
    @builtin(vertex_index) i: u32,
    @location(0) extent: vec4i,
    @location(1) color: vec4f,
    @location(2) nx0: vec4f,
    @location(3) nx1: vec4f,
    @location(4) ny0: vec4f,
    @location(5) ny1: vec4f,
    @location(6) c0: vec4f,
    @location(7) c1: vec4f,
) -> Polygon {
    return Polygon(corner(i, extent), vec4f(color.rgb * color.a, color.a), nx0, nx1, ny0, ny1, c0, c1);
}

@fragment
fn fs_path(in: Polygon) -> @location(0) vec4f {
    let p = in.position.xy;
    let a = clamp(in.nx0 * p.x + in.ny0 * p.y + in.c0 + 0.5, vec4f(0.0), vec4f(1.0));
    let b = clamp(in.nx1 * p.x + in.ny1 * p.y + in.c1 + 0.5, vec4f(0.0), vec4f(1.0));
    let m = a * b;
    return in.color * (m.x * m.y * m.z * m.w);
}
