// RGBA to NV12, BT.709 limited range, for the listed tiles of 16 x 16 pixels.
// One workgroup a tile, one invocation 4 x 2 pixels: two words of luma, one of chroma (the mean of each 2 x 2).

struct Params {
    // Pixels.
    size: vec2u,
    // Words of four bytes: a row, and from the beginning to the chroma plane.
    stride: u32,
    chroma: u32,
    // Tiles in the list.
    count: u32,
    pad: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var rgba: texture_2d<f32>;
// Column in the low half, row in the high half, in tiles.
@group(0) @binding(2) var<storage, read> tiles: array<u32>;
@group(0) @binding(3) var<storage, read_write> nv12: array<u32>;

// ITU-R BT.709-6: Kr 0.2126, Kb 0.0722; luma 16 to 235, chroma 16 to 240, all over 255.
const Y = vec3f(0.2126, 0.7152, 0.0722) * (219.0 / 255.0);
const CB = vec3f(-0.2126, -0.7152, 0.9278) * (224.0 / 255.0 / 1.8556);
const CR = vec3f(0.7874, -0.7152, -0.0722) * (224.0 / 255.0 / 1.5748);
const BLACK = 16.0 / 255.0;
const GREY = 128.0 / 255.0;

fn load(x: u32, y: u32) -> vec3f {
    // A tile may reach over the right edge into the padding of the row: repeat the last column there.
    return textureLoad(rgba, vec2u(min(x, params.size.x - 1u), y), 0).rgb;
}

@compute @workgroup_size(4, 8)
fn rgba_to_nv12(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) id: vec3u) {
    let n = group.y * 65535u + group.x;
    if n >= params.count { return; }
    let tile = tiles[n];
    let x = (tile & 0xffffu) * 16u + id.x * 4u;
    let y = (tile >> 16u) * 16u + id.y * 2u;
    if y >= params.size.y { return; }
    let a0 = load(x, y);
    let a1 = load(x + 1u, y);
    let a2 = load(x + 2u, y);
    let a3 = load(x + 3u, y);
    let b0 = load(x, y + 1u);
    let b1 = load(x + 1u, y + 1u);
    let b2 = load(x + 2u, y + 1u);
    let b3 = load(x + 3u, y + 1u);
    let c0 = (a0 + a1 + b0 + b1) * 0.25;
    let c1 = (a2 + a3 + b2 + b3) * 0.25;
    let o = y * params.stride + x / 4u;
    nv12[o] = pack4x8unorm(vec4f(dot(a0, Y), dot(a1, Y), dot(a2, Y), dot(a3, Y)) + BLACK);
    nv12[o + params.stride] = pack4x8unorm(vec4f(dot(b0, Y), dot(b1, Y), dot(b2, Y), dot(b3, Y)) + BLACK);
    nv12[params.chroma + y / 2u * params.stride + x / 4u] =
        pack4x8unorm(vec4f(dot(c0, CB), dot(c0, CR), dot(c1, CB), dot(c1, CR)) + GREY);
}
