/** The build's configuration with the stand-in server beside it; the build itself knows nothing of it. */
import { fileURLToPath } from "node:url";
import { mergeConfig } from "vite";
import base from "../vite.config";
import { mockServer } from "./mock";

export default mergeConfig(base, { root: fileURLToPath(new URL("..", import.meta.url)), plugins: [mockServer()] });
