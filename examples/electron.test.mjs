import { goThrough } from "./page.mjs";

goThrough("electron");
