"""Words of the embedded corpus by topic and polarity, most frequent first; entries as in `inflection`.

A pair such as `revenue:sales` is a singular and a plural word for nearly the same thing. The topic `ANY`
lists words shared by all topics. Organisations and persons are invented.
"""

from collections.abc import Mapping

__all__ = ["ANY", "BY_POLARITY", "BY_TOPIC", "LISTS"]

ANY = "any"

BY_TOPIC: Mapping[str, Mapping[str, str]] = {
    "agent_noun": {
        "markets": """trader investor bank fund broker dealer institution speculator pension_fund
            money_manager bondholder shareholder hedge_fund savings_bank""",
        "earnings": """company retailer maker airline insurer unit lender carmaker chain subsidiary grocer
            publisher brewer conglomerate""",
        "energy": """producer utility refiner exporter driller operator oil_company supplier cartel miner
            pipeline_operator gas_company shipper ministry""",
        "technology": """developer manufacturer chip_maker software_company engineer start-up rival vendor
            designer inventor computer_maker programmer laboratory phone_company""",
        "politics": """lawmaker minister senator government party committee president governor council
            republican democrat diplomat mayor coalition""",
        "courts": """judge court prosecutor jury lawyer attorney regulator panel plaintiff tribunal
            magistrate defendant appeals_court investigator""",
        "health": """hospital doctor researcher scientist clinic drug_maker surgeon university nurse
            physician specialist health_agency institute pharmacist""",
        "sport": """team player coach club champion striker captain pitcher goalkeeper rookie defender
            veteran quarterback manager""",
        ANY: "group official agency partner leader executive member expert organization foundation",
    },
    "thing_noun": {
        "markets": """index:stocks market:shares dollar:prices stock_price bond_market:bonds average:yields
            currency volume:options""",
        "earnings": """profit revenue:sales net_income:earnings margin operating_profit:dividends result
            turnover:orders payout""",
        "energy": """output:exports oil_price production:supplies gas_price capacity:inventories
            refining_margin crude_price:reserves fuel_consumption:fuel_sales""",
        "technology": """market_share:shipments order_book:orders chip_price export_revenue:exports
            research_budget:subscriptions software_revenue:software_sales backlog:downloads""",
        "politics": """approval_rating majority:polls tax_revenue:tax_receipts turnout:donations
            defense_budget:budgets federal_spending:subsidies foreign_aid:grants membership:campaign_funds""",
        "courts": """settlement fee claim award caseload:filings recovery conviction_rate:legal_fees
            damage_award""",
        "health": """survival_rate enrollment:donations vaccination_rate:vaccinations research_budget:grants
            cure_rate life_expectancy:admissions drug_revenue:drug_sales recovery_rate""",
        "sport": """attendance:ticket_sales score crowd rating prize_money:gate_receipts audience
            batting_average membership:memberships""",
    },
    "object_noun": {
        "markets": """share bond stock contract note option currency stake issue warrant mutual_fund
            security junk_bond""",
        "earnings": """dividend forecast profit_target budget price payout estimate plan bid unit store
            factory profit_margin""",
        "energy": """pipeline refinery output_target well field plant reactor terminal project mine tanker
            turbine drilling_permit""",
        "technology": """computer product system chip device program network machine service model phone
            printer workstation""",
        "politics": """bill budget plan treaty measure amendment reform proposal tax law agreement resolution
            trade_pact""",
        "courts": """ruling case lawsuit claim verdict motion appeal settlement complaint conviction petition
            indictment plea_bargain""",
        "health": """drug treatment vaccine test therapy study procedure medicine device remedy trial
            transplant blood_test""",
        "sport": """game match title championship trophy season final tournament race cup medal playoff""",
        ANY: "deal agreement contract offer program plan",
    },
    "name": {
        "markets": "halden_securities norbury_capital first_corvin vantor_trust lowmark_brothers sterrick",
        "earnings": "meridew_inc. calloway_stores brantix_corp. ostrand_foods tilbury_motors velmar",
        "energy": "petrovane northgas kestrel_oil delmora_power tarn_energy blackmere",
        "technology": "quantel_systems nuvexa byteforge lumitron_inc. arcwell_software orbisoft",
        "politics": "congress washington the_senate parliament the_cabinet brussels",
        "courts": "the_judiciary the_commission hargrove_partners the_prosecution the_defense",
        "health": "medivar_labs genothera the_ministry st._albin corvex_corp. pharmaline",
        "sport": "westbrook_united riverton milford_city ashdown_rovers harriers_club northdale",
    },
    "source_noun": {
        "markets": "analyst trader dealer strategist broker fund_manager",
        "earnings": "executive analyst chairman:chairmen manager treasurer accountant",
        "energy": "industry_official oil_analyst oil_minister geologist delegate plant_manager",
        "technology": "industry_analyst engineer consultant executive product_manager founder",
        "politics": "aide lawmaker diplomat adviser senator campaign_official",
        "courts": "lawyer prosecutor legal_expert law_professor witness court_official",
        "health": "doctor researcher health_official epidemiologist scientist hospital_official",
        "sport": "coach commentator agent club_official scout sports_writer",
        ANY: "official spokesman:spokesmen observer critic insider",
    },
    "agent_adjective": {
        "markets": "foreign institutional european big private japanese swiss",
        "earnings": "big national regional family-owned diversified unionized midwestern",
        "energy": "state-owned independent arab offshore canadian mexican norwegian",
        "technology": "small japanese young californian taiwanese korean german",
        "politics": "senior local conservative liberal moderate socialist elected",
        "courts": "federal state chief civil county military criminal",
        "health": "local private public american danish rural urban",
        "sport": "young defending local brazilian top-seeded australian dutch",
    },
    "noun_adjective": {
        "markets": "long-term foreign short-term municipal industrial convertible high-yield preferred",
        "earnings": "annual quarterly consolidated interim global full-year domestic",
        "energy": "main domestic northern nuclear offshore alaskan strategic",
        "technology": "personal digital portable advanced wireless optical high-speed desktop",
        "politics": "federal bipartisan regional social fiscal military agricultural constitutional",
        "courts": "civil criminal final out-of-court antitrust original landmark",
        "health": "clinical experimental medical genetic preventive generic surgical pediatric",
        "sport": "first home international regular-season overseas olympic european",
    },
    "cause": {
        "markets": "demand trading sentiment buying liquidity investor_confidence interest",
        "earnings": "demand productivity pricing consumer_spending advertising traffic management",
        "energy": "demand weather production fuel_consumption drilling shipping industrial_demand",
        "technology": "demand software research competition engineering design business_spending",
        "politics": "public_support leadership diplomacy polling voter_turnout foreign_policy debate",
        "courts": "evidence testimony legal_advice preparation cross-examination scrutiny paperwork",
        "health": "research care medical_evidence nutrition hospital_staffing training hygiene",
        "sport": "form defense preparation pitching team_spirit coaching fitness",
    },
    "place": {
        "markets": """in_heavy_trading on_wall_street in_early_trading in_london in_new_york_trading in_tokyo
            in_the_bond_market at_the_opening_bell""",
        "earnings": """in_the_u.s. in_europe in_its_main_market at_its_largest_plant in_most_divisions
            in_north_america at_its_retail_stores""",
        "energy": """in_the_north_sea in_texas in_the_gulf in_alaska along_the_coast near_the_border
            in_western_canada off_the_coast""",
        "technology": """in_silicon_valley at_a_trade_show in_the_home_market in_japan at_a_research_center
            in_asia in_the_business_market""",
        "politics": """in_the_house in_parliament in_a_close_vote at_a_party_meeting in_the_capital
            at_a_news_conference on_the_senate_floor""",
        "courts": """in_federal_court in_a_civil_trial in_manhattan in_a_brief_hearing on_appeal in_chicago
            before_a_grand_jury""",
        "health": """in_a_recent_study in_clinical_tests in_poor_countries at_three_hospitals
            in_older_patients in_boston at_a_medical_conference""",
        "sport": """at_home on_the_road in_extra_time before_a_large_crowd at_the_new_stadium
            in_the_second_half in_the_final_minutes""",
    },
}

BY_POLARITY: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "act": {
        "good": {
            "markets": "buy:bought acquire purchase recommend favor accumulate",
            "earnings": "raise increase boost lift double expand",
            "energy": "open expand restart develop complete restore",
            "technology": "introduce launch unveil develop release improve",
            "politics": "approve back endorse adopt sign ratify",
            "courts": "uphold:upheld settle accept grant affirm resolve",
            "health": "approve develop test improve discover recommend",
            "sport": "win:won:winning dominate lead:led control:controlled:controlling celebrate claim",
            ANY: "support welcome praise defend seek:sought complete",
        },
        "bad": {
            "markets": "sell:sold dump avoid unload shun:shunned:shunning abandon",
            "earnings": "cut:cut:cutting reduce miss trim:trimmed:trimming slash suspend",
            "energy": "close shut:shut:shutting idle halt abandon delay",
            "technology": "recall drop:dropped:dropping delay scrap:scrapped:scrapping shelve postpone",
            "politics": "reject oppose block defeat denounce kill",
            "courts": "dismiss overturn deny challenge reverse reject",
            "health": "ban:banned:banning restrict suspend question halt limit",
            "sport": "lose:lost miss forfeit surrender concede abandon",
            ANY: "criticize review attack cancel delay fear",
        },
    },
    "change": {
        "good": {
            ANY: """rise:rose climb gain jump grow:grew increase advance improve surge rebound soar""",
        },
        "bad": {
            ANY: """fall:fell drop:dropped:dropping decline slip:slipped:slipping slump tumble plunge
                decrease weaken sink:sank slide:slid:sliding dip:dipped:dipping""",
        },
    },
    "mood": {
        "good": {ANY: "strong new higher better healthy solid successful favorable robust popular"},
        "bad": {ANY: "weak poor lower disappointing troubled costly risky sluggish failed uncertain"},
    },
    "attitude": {
        "good": {ANY: "confident optimistic hopeful enthusiastic upbeat positive excited"},
        "bad": {ANY: "worried concerned pessimistic skeptical nervous uneasy unhappy"},
    },
}

LISTS: Mapping[str, str] = {
    "surname": """aldane brovik castellow dravin elswick farrand gorsky hollin ibsworth jarrow kessling lomax
        mardell norring oakhurst pellow quarrie rusk sandoe thorley umber""",
    "weekday": "monday friday tuesday thursday wednesday saturday sunday",
    "month": """january march december october april july september november june february may august""",
    "ordinal": "third fourth second first",
    "collective": "management staff board crew leadership workforce majority",
    "pace": "very rather quite fairly",
    "manner": "sharply slightly steadily modestly quickly substantially gradually dramatically moderately",
    "say_firm": "say:said announce report confirm note disclose insist",
    "say_hedged": "say:said suggest believe estimate think:thought indicate hint",
}
