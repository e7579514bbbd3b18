// Pictures scaled into a rectangle with rounded corners. Texels are premultiplied.

struct View { size: vec2f }
@group(0) @binding(0) var<uniform> view: View;
@group(1) @binding(0) var picture: texture_2d<f32>;
@group(1) @binding(1) var bilinear: sampler;

// Corner `i` of a whole-pixel extent (x0, y0, x1, y1) in clip space.
fn corner(i: u32, extent: vec4i) -> vec4f {
    let p = vec2f(vec2i(select(extent.x, extent.z, (i & 1u) != 0u), select(extent.y, extent.w, i > 1u)));
    return vec4f(p.x / view.size.x * 2.0 - 1.0, 1.0 - p.y / view.size.y * 2.0, 0.0, 1.0);
}

struct Picture {
    @builtin(position) position: vec4f,
    @location(0) @interpolate(flat) rect: vec4f,
    @location(1) @interpolate(flat) uv: vec4f,
    // Radius px, opacity, mip level.
    @location(2) @interpolate(flat) look: vec3f,
}

@vertex
fn vs_image(
    @builtin(vertex_index) i: u32,
    @location(0) extent: vec4i,
    @location(1) rect: vec4f,
    @location(2) uv: vec4f,
    @location(3) look: vec3f,
) -> Picture {
    return Picture(corner(i, extent), rect, uv, look);
}

fn opacity(in: Picture) -> f32 {
    let half = (in.rect.zw - in.rect.xy) * 0.5;
    let q = abs(in.position.xy - in.rect.xy - half) - half + in.look.x;
    let d = length(max(q, vec2f(0.0))) + min(max(q.x, q.y), 0.0) - in.look.x;
    let share = min(in.position.xy + 0.5, in.rect.zw) - max(in.position.xy - 0.5, in.rect.xy);
    let s = clamp(share, vec2f(0.0), vec2f(1.0));
    return min(clamp(0.5 - d, 0.0, 1.0), s.x * s.y) * in.look.y;
}

fn place(in: Picture) -> vec2f {
    let t = (in.position.xy - in.rect.xy) / (in.rect.zw - in.rect.xy);
    return in.uv.xy + t * (in.uv.zw - in.uv.xy);
}

@fragment
fn fs_bilinear(in: Picture) -> @location(0) vec4f {
    // Half a texel inside the part that is drawn: its neighbours must not bleed in.
    let size = vec2f(textureDimensions(picture, i32(in.look.z)));
    let low = min(in.uv.xy, in.uv.zw) + 0.5 / size;
    let high = max(max(in.uv.xy, in.uv.zw) - 0.5 / size, low);
    return textureSampleLevel(picture, bilinear, clamp(place(in), low, high), in.look.z) * opacity(in);
}

@fragment
fn fs_nearest(in: Picture) -> @location(0) vec4f {
    let size = vec2i(textureDimensions(picture, 0));
    let texel = vec2i(floor(place(in) * vec2f(size)));
    return textureLoad(picture, clamp(texel, vec2i(0), size - 1), 0) * opacity(in);
}
