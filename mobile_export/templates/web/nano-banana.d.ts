/** One adjustment of a plan. `color` is `#rrggbb`, for adjustments that take one. */
export interface Edit {
    adjust: string;
    amount: number;
    region: string;
    color?: string;
}

/** What an instruction means. `beyond`, 0 to 1, is how sure the model is that more was wanted than it can do. */
export interface Plan {
    edits: Edit[];
    beyond: number;
}

/** What can be asked for: words, or a plan whose edits may leave out what is usual. */
export type Wish =
    | string
    | { edits: { adjust: string; amount?: number; region?: string; color?: string }[]; beyond?: number };

/** One adjustment that plans may name; `low` to `high` is the allowed amount. */
export interface Adjustment {
    name: string;
    low: number;
    high: number;
    default: number;
    regions: string[];
    unit: string;
    definition: string;
    label: Record<string, string>;
    takes_color?: boolean;
}

export interface Vocabulary {
    adjustments: Adjustment[];
    regions: string[];
    colors: Record<string, string>;
}

export interface LoadOptions {
    /** Threads of WebAssembly, 1 or more; by default the processor's, at most 4. Needs cross-origin isolation. */
    threads?: number;
    /** Default "auto": WebGPU for the networks (vision, restore) where there is a GPU, else WebAssembly alone. */
    device?: "auto" | "wasm" | "webgpu";
}

export interface Progress {
    stage: "text" | "decode" | "vision" | "restore" | "auto" | "context" | "render";
    /** The share that is done, 0 to 1. */
    fraction: number;
}

export interface EditOptions {
    /** Where the edit belongs: transparent there, or without transparency white there. Of the photo's proportions. */
    mask?: Picture;
    /** Stops the edit; `edit` then rejects with the signal's reason, an AbortError unless another was given. */
    signal?: AbortSignal;
    onProgress?(progress: Progress): void;
}

export type Picture = Blob | ImageData | ImageBitmap | HTMLImageElement | HTMLCanvasElement | OffscreenCanvas;

export interface EditResult {
    readonly imageData: ImageData;
    readonly width: number;
    readonly height: number;
    /** Whether every pixel is opaque. */
    readonly opaque: boolean;
    /** What was carried out. */
    readonly plan: Plan;
    /** Sentences for the user: what was left out or is likely to disappoint. */
    readonly warnings: string[];
    /** By stage. */
    readonly seconds: Record<string, number>;
    /** JPEG puts transparency on white. Default: PNG. `quality` is 0 to 1, default 0.9. */
    toBlob(options?: { type?: "image/png" | "image/jpeg" | "image/webp"; quality?: number }): Promise<Blob>;
}

/** `name` says what kind it is: InstructionError, PlanError, ImageError, ArtifactError, EngineError ... */
export class EditError extends Error {
    /** The part of the request at fault, such as "prompt", "plan" or "mask". */
    readonly param: string | null;
}

export class NanoBanana {
    /** Opens the model. `base` is this folder's address, by default where the module came from. */
    static load(base?: string | URL, options?: LoadOptions): Promise<NanoBanana>;

    readonly model: string;
    readonly vocabulary: Vocabulary;
    /** The device that is used. */
    readonly device: "wasm" | "webgpu";
    /** The threads that are used. */
    readonly threads: number;
    /** Sentences about what was wished for and can't be had here, such as threads without cross-origin isolation. */
    readonly notes: string[];

    /** Says what an instruction means, without a photo. Rejects with an EditError when it is empty or too long. */
    plan(instruction: string): Promise<Plan>;

    /** Edits a photo by an instruction, or by a plan. Edits of one editor run one after another. */
    edit(image: Picture, wish: Wish, options?: EditOptions): Promise<EditResult>;

    /** Frees the memory. The editor can't be used afterwards. */
    close(): Promise<void>;
}
