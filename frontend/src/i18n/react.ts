import { createContext, useContext } from "react";
import { translator, type Locale, type Translate } from "./index";

export interface Language { locale: Locale; t: Translate }

export const LanguageContext = createContext<Language>({ locale: "en", t: translator("en") });

export const useLanguage = (): Language => useContext(LanguageContext);
