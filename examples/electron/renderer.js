import { showPage } from "../page/page.js";

showPage(/** @type {{ sidecar: import("../page/types.js").Bridge }} */ (/** @type {unknown} */ (window)).sidecar);
