/** The admin's look and its small behaviours, on every page. Everything works without them, only less comfortably. */
import "./inter.css";
import "../shared/tokens.css";
import "./admin.css";
import "./parts.css";
import { startForms } from "./forms";
import { startLists } from "./lists";
import { startFresh, startLive } from "./live";
import { startShell } from "./shell";

startShell();
startLists();
startForms();
startLive();
startFresh();
