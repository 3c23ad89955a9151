// The reviewer's page answers by the same keys as the labelling room.

import { listen } from "./label_keys.js";

listen(document);
