// Glyphs out of an atlas page, texel for pixel: `mask` holds coverage, `color` premultiplied RGBA.

struct View { size: vec2f }
@group(0) @binding(0) var<uniform> view: View;
@group(1) @binding(0) var page: texture_2d<f32>;

// Corner `i` of a whole-pixel extent (x0, y0, x1, y1) in clip space.
fn corner(i: u32, extent: vec4i) -> vec4f {
    let p = vec2f(vec2i(select(extent.x, extent.z, (i & 1u) != 0u), select(extent.y, extent.w, i > 1u)));
    return vec4f(p.x / view.size.x * 2.0 - 1.0, 1.0 - p.y / view.size.y * 2.0, 0.0, 1.0);
}

struct Glyph {
    @builtin(position) position: vec4f,
    // From a pixel of the picture to its texel of the page.
    @location(0) @interpolate(flat) shift: vec2i,
    @location(1) @interpolate(flat) color: vec4f,
}

@vertex
fn vs_glyph(
    @builtin(vertex_index) i: u32,
    @location(0) extent: vec4i,
    @location(1) shift: vec2i,
    @location(2) color: vec4f,
) -> Glyph {
    return Glyph(corner(i, extent), shift, color);
}

@fragment
fn fs_mask(in: Glyph) -> @location(0) vec4f {
    let a = textureLoad(page, vec2i(in.position.xy) + in.shift, 0).r * in.color.a;
    return vec4f(in.color.rgb * a, a);
}

@fragment
fn fs_color(in: Glyph) -> @location(0) vec4f {
    return textureLoad(page, vec2i(in.position.xy) + in.shift, 0) * in.color.a;
}
