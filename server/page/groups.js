// The headings under which the palette shows the adjustments. What no heading names comes under "more".

const GROUPS = {
  light: ["exposure", "midtones", "contrast", "highlights", "shadows", "whites", "blacks"],
  colour: ["warmth", "tint", "saturation", "vibrance", "hue"],
  ranges: ["reds", "yellows", "greens", "blues", "purples"],
  looks: [
    "black_and_white", "noir", "sepia", "cyanotype", "fade", "vintage", "golden_hour", "night", "pastel", "teal_orange",
    "cross_process", "hdr", "sketch", "posterize", "solarize", "invert",
  ],
  detail: ["sharpen", "clarity", "dehaze", "blur", "tilt_shift", "glow", "grain", "pixelate", "vignette"],
  repair: ["denoise", "deblock", "deblur", "repair", "inpaint", "upscale"],
  automatic: ["auto_enhance", "auto_exposure", "auto_white_balance", "auto_contrast"],
  places: ["skin_smooth", "remove", "fill"],
  canvasGroup: ["crop", "rotate", "flip_horizontal", "flip_vertical", "frame"],
};

/** Return [heading, adjustments] pairs, those of `vocabulary` only and none of them empty. */
export function grouped(vocabulary) {
  const named = Object.entries(GROUPS).map(([heading, names]) => (
    [heading, names.map((name) => vocabulary.get(name)).filter(Boolean)]
  ));
  const known = new Set(Object.values(GROUPS).flat());
  const others = [...vocabulary.values()].filter((adjustment) => !known.has(adjustment.name));
  return [...named, ["more", others]].filter(([, adjustments]) => adjustments.length);
}
